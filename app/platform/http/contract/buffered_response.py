"""Buffers a response whole, so that it can be stored, tagged or replaced, and adds headers to responses.

Buffering is for responses of a few kilobytes: never buffer a streamed response. `append_headers` changes the
head only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class BufferedResponse:
    """A response.

    Attributes:
        status: the HTTP status.
        headers: names in lower case, as ASGI has them.
        body: its bytes.
    """

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @property
    def succeeded(self) -> bool:
        """Whether the status says that the request succeeded."""
        return 200 <= self.status < 300  # noqa: PLR2004 (HTTP statuses)

    def header(self, name: bytes) -> bytes:
        """Return the first header of a name (lower case); empty where there is none."""
        return next((value for each, value in self.headers if each == name), b"")

    async def send(self, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def buffer_response(app: ASGIApp, scope: Scope, receive: Receive) -> BufferedResponse:
    """Let an application answer a request, and return the response instead of sending it."""
    response = BufferedResponse(500)
    body = bytearray()

    async def record(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, record)
    response.body = bytes(body)
    return response


def append_headers(message: Message, more: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return a response head with further headers, whose names are in lower case."""
    return {**message, "headers": [*message.get("headers", ()), *more]}
