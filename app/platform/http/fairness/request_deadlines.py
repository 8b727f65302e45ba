"""Requests in time: a turn for each, and an end to those that take too long."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.problems import make_error_response
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits, RequestPermits
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.rate_limits import get_rate_limit_subject, is_low_priority
from app.platform.identity.principals import Principal, add_authentication_step
from app.platform.kernel.errors import DeadlineExceededError, TooManyRequestsError

_STREAM: Final = b"text/event-stream"


class DeadlineMiddleware:
    """Cancels a request that has no answer after `seconds`, and answers 504 `deadline_exceeded`.

    An answer that has begun may go on: it may be a stream. How long a client may take to read it is
    `app.platform.runtime.server_timeouts`'s.
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
            await make_error_response(
                DeadlineExceededError(
                    f"No answer within {self._seconds:g} s: the request was ended. What it was to change may "
                    "be changed or not: look, or send it again with the same Idempotency-Key."
                )
            )(scope, receive, send)


class ConcurrencyMiddleware:
    """Lets so many requests of one caller run at once; 429 `too_many_requests_at_once` past those that wait.

    Each goes through the lines of its key (or address), its organisation, and its integrator, where all wait
    for each other. A key that is not known yet stands in its address's line until it was looked up. What all
    wait for is given back while a client is slow to send or to read. Event streams give all their turns back
    when they begin: they are counted elsewhere, and last for ever.
    """

    def __init__(self, app: ASGIApp, *, lines: ConcurrencyLimits) -> None:
        self._app = app
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        counted = get_rate_limit_subject(scope)
        if counted is None:
            await self._app(scope, receive, send)
            return
        held = RequestPermits(self._lines, samples=counted.samples)

        async def met(principal: Principal) -> None:
            # The next stranger of its address may be looked up.
            held.leave()
            await held.enter("key", counted.digest)
            await held.enter_account(PrincipalGroup.of(principal), yields=is_low_priority(scope))

        try:
            try:
                await held.enter("key", counted.address or counted.digest)
                if counted.account is not None:
                    await held.enter_account(counted.account, yields=is_low_priority(scope))
            except TooManyRequestsError as error:
                await make_error_response(error)(scope, receive, send)
                return
            if counted.account is None:
                add_authentication_step(scope, met)

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start" and _is_stream(message):
                    held.leave()
                elif message["type"] == "http.response.body":
                    # How fast it is read is the client's matter, and nobody else's.
                    held.share()
                await send(message)

            reading = held.while_reading(receive) if _has_body(scope) else receive
            await held.paced(self._app(scope, reading, sending))
        finally:
            held.leave()


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_STREAM)
        for name, value in message.get("headers", ())
    )
