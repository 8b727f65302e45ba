"""Gives each request a span where telemetry is on, which continues the `traceparent` of its client."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.observability.tracing import TRACEPARENT, is_tracing, start_span, use_span

_HEADER: Final = TRACEPARENT.encode()
# Probes and scrapes, which come every few seconds and cause nothing.
_UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_LEAST_FAILURE: Final = 500


async def trace_request(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request within its span. The span has the template of the path, and neither path nor query."""
    if not is_tracing() or scope["path"] in _UNTRACED:
        await app(scope, receive, send)
        return
    method = scope["method"]
    span = start_span(
        method,
        kind="server",
        parent=next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None),
        is_root=True,
        attributes={"http.request.method": method},
    )

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            route = str(getattr(scope.get("route"), "path", "other"))
            status = message["status"]
            span.update({"http.route": route, "http.response.status_code": status}, name=f"{method} {route}")
            if status >= _LEAST_FAILURE:
                span.fail(str(status))
        await send(message)

    with use_span(span):
        await app(scope, receive, sending)
