"""Applies concurrency limits and deadlines to requests."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.problems import make_error_response
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits, RequestPermits
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.rate_limits import get_rate_limit_subject, is_low_priority
from app.platform.identity.caller_authentication import Principal, add_authentication_step
from app.platform.kernel.errors import DeadlineExceededError, TooManyRequestsError

_STREAM: Final = b"text/event-stream"


class DeadlineMiddleware:
    """Cancels a request without a response after `seconds`, and answers 504 `deadline_exceeded`.

    A response that has begun may continue, as it may be a stream. `app.platform.runtime.server_timeouts`
    limits how long a client may take to read it.
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
                    # Clean-up after the cancellation may still send: its response comes too late.
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
                    f"No response within {self._seconds:g} s: the request was cancelled. Its change may or "
                    "may not have happened: check, or retry with the same Idempotency-Key."
                )
            )(scope, receive, send)


class ConcurrencyMiddleware:
    """Limits the concurrent requests of a caller (429 `too_many_requests_at_once` if its queue is full).

    Each request needs permits of its key (or address), its organisation, and its integrator, whose permits
    all tenants share. An unknown key counts for its address until it was looked up. The shared permits are
    released while a client is slow to send or to read. Event streams release all permits when they begin:
    they have a separate limit and no end.
    """

    def __init__(self, app: ASGIApp, *, limits: ConcurrencyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        subject = get_rate_limit_subject(scope)
        if subject is None:
            await self._app(scope, receive, send)
            return
        permits = RequestPermits(self._limits, samples=subject.samples)

        async def authenticated(principal: Principal) -> None:
            # The next unknown key of this address may be looked up.
            permits.release()
            await permits.acquire("key", subject.digest)
            await permits.acquire_group(PrincipalGroup.of(principal), yields=is_low_priority(scope))

        try:
            try:
                await permits.acquire("key", subject.address or subject.digest)
                if subject.group is not None:
                    await permits.acquire_group(subject.group, yields=is_low_priority(scope))
            except TooManyRequestsError as error:
                await make_error_response(error)(scope, receive, send)
                return
            if subject.group is None:
                add_authentication_step(scope, authenticated)

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start" and _is_stream(message):
                    permits.release()
                elif message["type"] == "http.response.body":
                    # A slow reader must not hold permits that others wait for.
                    permits.release_shared()
                await send(message)

            reading = permits.while_reading(receive) if _has_body(scope) else receive
            await permits.run(self._app(scope, reading, sending))
        finally:
            permits.release()


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
