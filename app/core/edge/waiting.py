"""Requests in time: a turn for each, and an end to those that take too long."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.edge.refuse import refusal
from app.core.edge.throttle import counted_of
from app.core.edge.turns import Turns
from app.core.errors import DeadlineError, TooManyRequestsError
from app.core.problems import problem_of

_STREAM: Final = b"text/event-stream"


class Deadline:
    """Cancels a request that has no answer after `seconds`, and answers 504 `deadline_exceeded`.

    An answer that has begun may go on: it may be a stream. How long a client may take to read it is
    `app.core.impatience`'s.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        limit = asyncio.timeout(self._seconds)

        async def sending(message: Message) -> None:
            nonlocal begun
            if not begun:
                if limit.expired():
                    # What clears up after a cancelled request has nothing to say any more.
                    return
                begun = True
                limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self._app(scope, receive, sending)
        except TimeoutError:
            if begun or not limit.expired():
                raise
            await problem_of(
                DeadlineError(
                    f"No answer within {self._seconds:g} s: the request was ended. What it was to change may "
                    "be changed or not: look, or send it again with the same Idempotency-Key."
                )
            )(scope, receive, send)


class TakingTurns:
    """Lets so many requests of one caller run at once; 429 `too_many_requests_at_once` past those that wait.

    Event streams give their turn back when they begin: they are counted elsewhere, and last for ever.
    """

    def __init__(self, app: ASGIApp, *, turns: Turns) -> None:
        self._app = app
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        counted = counted_of(scope)
        if counted is None:
            await self._app(scope, receive, send)
            return
        # Samples do not wait behind a dashboard's requests, nor those behind samples.
        subject = (counted.subject, counted.policy)
        if not await self._turns.enter(subject):
            error = TooManyRequestsError(
                "Too many requests at once: wait for some to be answered.",
                retry_after_s=1,
                code="too_many_requests_at_once",
            )
            await refusal(error, policy=counted.policy)(scope, receive, send)
            return
        running = True

        async def sending(message: Message) -> None:
            nonlocal running
            if running and message["type"] == "http.response.start" and _is_stream(message):
                running = False
                self._turns.leave(subject)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if running:
                self._turns.leave(subject)


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_STREAM)
        for name, value in message.get("headers", ())
    )
