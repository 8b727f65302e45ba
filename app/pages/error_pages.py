"""Replaces error responses (`application/problem+json`) with HTML pages for browsers.

API clients are not affected: without `text/html` in `Accept`, the JSON stays. Under `/v1/` only a 401 becomes
a page, which explains how to sign in to a person who follows the link of an alert. The status and the other
headers do not change.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pages.page_layout import (
    HTML_MEDIA_TYPE,
    build_page_headers,
    choose_formatter,
    read_root_path,
    render_layout,
)
from app.platform.observability.metrics_and_logs import current_request_id
from app.presentation.translation import BilingualText, translated
from app.public_register.register_value_formatter import RegisterFormatter

_PROBLEM: Final = b"application/problem+json"
_REPLACED: Final = frozenset({b"content-type", b"content-length", b"content-security-policy"})
_API: Final = "/v1/"
_SWAGGER_FILES: Final = "/static-offline-docs/"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_ERROR: Final = 400
_NOT_SIGNED_IN: Final = 401
_SERVER: Final = 500
_TEXTS: Final[Mapping[int, tuple[BilingualText, BilingualText]]] = MappingProxyType(
    {
        _NOT_SIGNED_IN: (
            translated("Sign in to read this"),
            translated(
                "This is for members of the organisation it belongs to. People sign in to the console. "
                "Programs send an API key or the token of a session: try it in the description of the API."
            ),
        ),
        404: (
            translated("There is no such page"),
            translated("The address may be mistyped, or the page was removed."),
        ),
        429: (
            translated("Too many requests"),
            translated("Wait a minute, then try again."),
        ),
        503: (
            translated("Not available at the moment"),
            translated("Vigie cannot answer now. Try again in a minute."),
        ),
    }
)
_SERVER_ERROR: Final = (
    translated("Something went wrong here"),
    translated("The error has been logged. Try again later."),
)
_OTHER_ERROR: Final = (
    translated("This request was refused"),
    translated("The address cannot be used in this way. Go back, and follow a link."),
)
_LINKS: Final = (
    ("/console", translated("Console of operators")),
    ("/public", translated("Public register of sensors")),
    ("/docs/guides", translated("Guides")),
    ("/docs", translated("Description of the API")),
)
_REFERENCE: Final = translated("Reference for the operator of this installation:")


class ErrorPageMiddleware:
    """ASGI middleware that replaces the body of a problem with a page if the client prefers HTML."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        page: bytes | None = None

        async def show(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                if (
                    message["status"] >= _ERROR
                    and dict(headers).get(b"content-type") == _PROBLEM
                    and _has_page(scope, message["status"])
                    and _wants_page(scope)
                ):
                    page = _page(Request(scope), message["status"])
                    formatter = choose_formatter(Request(scope))
                    own = {
                        **build_page_headers(formatter),
                        "Content-Type": HTML_MEDIA_TYPE,
                        "Content-Length": str(len(page)),
                    }
                    rest = [each for each in headers if each[0].lower() not in _REPLACED]
                    added = [(name.lower().encode(), value.encode()) for name, value in own.items()]
                    message = {**message, "headers": [*rest, *added, (b"vary", b"Accept, Accept-Language")]}
            elif page is not None and message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": page}
            await send(message)

        await self._app(scope, receive, show)


def _has_page(scope: Scope, status: int) -> bool:
    return status == _NOT_SIGNED_IN or not scope["path"].startswith(_API)


def _wants_page(scope: Scope) -> bool:
    """Return whether a browser navigates: only then does `Accept` name `text/html`."""
    if scope["path"].startswith(_SWAGGER_FILES):
        return False
    headers = dict(scope["headers"])
    # Some API clients accept text/html too. A person who follows a link sends no key, and only reads.
    if scope["path"].startswith(_API) and (
        scope["method"] not in _SAFE_METHODS or b"authorization" in headers
    ):
        return False
    accepted = headers.get(b"accept", b"")
    names = {part.partition(b";")[0].strip().lower() for part in accepted.split(b",")}
    return b"text/html" in names


def _page(request: Request, status: int) -> bytes:
    formatter: RegisterFormatter = choose_formatter(request)
    title, text = _TEXTS.get(status, _SERVER_ERROR if status >= _SERVER else _OTHER_ERROR)
    return render_layout(
        "error.html",
        formatter,
        root=read_root_path(request),
        title=formatter.translate(title),
        path=request.url.path,
        text=formatter.translate(text),
        links=[
            (f"{href}?lang={formatter.language}" if href == "/public" else href, formatter.translate(label))
            for href, label in _LINKS
        ],
        reference=formatter.translate(_REFERENCE) if status >= _SERVER else "",
        request_id=current_request_id() or "",
    ).encode()
