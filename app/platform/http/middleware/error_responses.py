"""Answers unexpected errors with 500, and reports refused requests."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.problems import handle_unexpected_error

_FORBIDDEN: Final = 403

type RefusalReporter = Callable[[Scope], Awaitable[None]]
"""Records a refused request."""


class ErrorMiddleware:
    """Answers 500 to an unexpected error of the application, and reports each 403 before it is sent.

    Starlette answers unexpected errors too, but outside of every middleware: without an id, uncounted, and
    logged twice.

    Args:
        app: the next layer.
        report_refusal: records a refused request; None: nothing does.
    """

    def __init__(self, app: ASGIApp, *, report_refusal: RefusalReporter | None = None) -> None:
        self._app = app
        self._report_refusal = report_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                if self._report_refusal is not None and message.get("status") == _FORBIDDEN:
                    await self._report_refusal(scope)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                # A response that has begun cannot be replaced: the server closes the connection, which the
                # client notices.
                raise
            await handle_unexpected_error(Request(scope), error)(scope, receive, send)
