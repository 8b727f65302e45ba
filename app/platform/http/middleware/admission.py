"""Admits requests: checks their heads, then the rate limits, concurrency limits and the deadline.

Each check refuses as early as it can, at the least cost.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.buffered_response import append_headers
from app.platform.http.contract.problems import make_error_response
from app.platform.http.contract.request_head import make_refusal_response
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits, RequestPermits
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.rate_limits import (
    AdmittedRequest,
    RateLimitSubject,
    RequestRateLimits,
    is_low_priority,
)
from app.platform.http.fairness.token_buckets import BucketStore
from app.platform.http.middleware.request_context import mark_admitted
from app.platform.http.middleware.request_head_checks import find_head_fault
from app.platform.identity.caller_authentication import Principal, add_authentication_step
from app.platform.identity.session_cookie import is_console_path
from app.platform.kernel.errors import DeadlineExceededError, TooManyRequestsError

_STREAM: Final = b"text/event-stream"


class AdmissionMiddleware:
    """Refuses requests above a limit, and cancels those that exceed the deadline.

    Rates (429 `rate_limited`): see `app.platform.http.fairness.rate_limits`.

    Concurrency (429 `too_many_requests_at_once` if the queue is full): each request needs permits of its key
    (or address), its organisation, and its integrator, whose permits all tenants share. An unknown key counts
    for its address until it was looked up. The shared permits are released while a client is slow to send or
    to read. Event streams release all permits when they begin: they have a separate limit and no end. Pages
    of the console need no permits: they wait for calls of the API that they make themselves.

    Deadline (504 `deadline_exceeded`): a request without a response is cancelled. A response that has begun
    may continue, as it may be a stream; `app.platform.runtime.server_timeouts` limits how long a client may
    take to read it.

    Args:
        app: the next layer.
        settings: the limits, and the deadline.
        connections: database connections for requests without samples.
        bootstrap: the key of the first administrator; None: there is none.
        buckets: where the buckets of the rate limits are; None: in this process.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ApiSettings,
        connections: int,
        bootstrap: str | None = None,
        buckets: BucketStore | None = None,
    ) -> None:
        self._app = app
        self._rates = RequestRateLimits(settings, bootstrap=bootstrap, store=buckets)
        self._limits = ConcurrencyLimits(settings, connections=connections)
        self._deadline_s = settings.deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = find_head_fault(scope)
        admitted = await self._rates.admit(scope) if fault is None else make_refusal_response(fault)
        if isinstance(admitted, Response):
            await admitted(scope, receive, send)
            return
        await self._answer(scope, receive, send, admitted)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, admitted: AdmittedRequest) -> None:
        mark_admitted(scope)
        subject = admitted.subject
        if subject is None:
            # Health, metrics and static files, which do not wait for long.
            await self._app(scope, receive, send)
            return
        permits = RequestPermits(self._limits, samples=subject.samples)
        limit = asyncio.timeout(self._deadline_s)
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if not begun:
                if limit.expired():
                    # Clean-up after the cancellation may still send: its response comes too late.
                    return
                begun = True
                limit.reschedule(None)
                message = self._begin_response(message, scope, admitted.headers, permits)
            else:
                # A slow reader must not hold permits that others wait for.
                permits.release_shared()
            await send(message)

        try:
            async with limit:
                await self._run_with_permits(scope, receive, sending, subject, permits)
        except TimeoutError:
            if begun or not limit.expired():
                raise
            await self._refuse_late()(scope, receive, send)
        finally:
            permits.release()

    def _refuse_late(self) -> Response:
        return make_error_response(
            DeadlineExceededError(
                f"No response within {self._deadline_s:g} s: the request was cancelled. Its change may or "
                "may not have happened: check, or retry with the same Idempotency-Key."
            )
        )

    def _begin_response(
        self,
        message: Message,
        scope: Scope,
        headers: Sequence[tuple[bytes, bytes]],
        permits: RequestPermits,
    ) -> Message:
        """Return the head of a response with the headers of its rate limits."""
        self._rates.forget_if_refused(scope, message["status"])
        if _is_stream(message):
            permits.release()
        return append_headers(message, headers) if headers else message

    async def _run_with_permits(
        self, scope: Scope, receive: Receive, send: Send, subject: RateLimitSubject, permits: RequestPermits
    ) -> None:
        if is_console_path(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def authenticated(principal: Principal) -> None:
            # The next unknown key of this address may be looked up.
            permits.release()
            await permits.acquire("key", subject.digest)
            await permits.acquire_group(PrincipalGroup.of(principal), yields=is_low_priority(scope))

        try:
            await permits.acquire("key", subject.address or subject.digest)
            if subject.group is not None:
                await permits.acquire_group(subject.group, yields=is_low_priority(scope))
        except TooManyRequestsError as error:
            await make_error_response(error)(scope, receive, send)
            return
        if subject.group is None:
            add_authentication_step(scope, authenticated)
        reading = permits.while_reading(receive) if _has_body(scope) else receive
        await permits.run(self._app(scope, reading, send))


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
