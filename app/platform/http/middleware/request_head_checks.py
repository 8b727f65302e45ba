"""Refuses requests before routing: wrong methods, invalid hosts, long URLs or headers; answers HEAD requests.

`MethodGuardMiddleware` answers 405 to a method that a literal path such as `/v1/claims/redeem` does not have.
Routing alone would continue to `/v1/claims/{claim_id}` and look for a claim `redeem`. `HeadMethodMiddleware`
answers HEAD as GET without the body. `RequestHeadLimitMiddleware` refuses a host that is not valid, and too
long an address or headers.

`app.platform.runtime.server_timeouts` handles what is not HTTP.
"""

import re
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.problems import make_problem_response
from app.platform.http.contract.request_head import make_refusal_response, read_request_head
from app.platform.kernel.errors import MalformedRequestError


class MethodGuardMiddleware:
    """Answers 405 to a method that a literal path does not have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._methods: dict[str, set[str]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            if self._methods is None:
                self._methods = _literal_paths(scope["app"])
            methods = self._methods.get(scope["path"])
            if methods is not None and scope["method"] not in methods:
                allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
                answer = make_problem_response(
                    405, "method_not_allowed", "Method Not Allowed", headers={"Allow": allowed}
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _literal_paths(app: FastAPI) -> dict[str, set[str]]:
    """Return the methods of each documented path without parameters."""
    found: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        route, path = context.original_route, context.path_format
        if isinstance(route, APIRoute) and route.include_in_schema and path is not None and "{" not in path:
            found.setdefault(path, set()).update(route.methods or ())
    return found


class HeadMethodMiddleware:
    """Answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            # Ends the response after its head: a stream sees a disconnect, and ends too.
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, sending)


ADDRESS_MAX: Final = 8_192
"""Maximum bytes of path and query; RFC 9110 recommends at least 8,000."""
HEADERS_MAX: Final = 32_768
"""Maximum bytes of all headers together."""

_HOST: Final = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class RequestHeadLimitMiddleware:
    """Refuses requests whose head exceeds a limit (414, 431) or has no valid host (400)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        error = _fault(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await make_refusal_response(error)(scope, receive, send)


def _fault(scope: Scope) -> MalformedRequestError | None:
    head = read_request_head(scope)
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_MAX:
        return MalformedRequestError(
            f"Path and query are longer than {ADDRESS_MAX} bytes. Shorten them.",
            status=414,
            code="uri_too_long",
        )
    if head.size > HEADERS_MAX:
        return MalformedRequestError(
            f"The headers are larger than {HEADERS_MAX} bytes. Send fewer or shorter ones.",
            status=431,
            code="headers_too_large",
        )
    # HTTP/1.0 does not require a host.
    if head.host is not None and not _HOST.fullmatch(head.host):
        return MalformedRequestError("The Host header is not a valid host name.", code="invalid_host")
    return None
