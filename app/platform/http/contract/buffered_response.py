"""An answer as it goes out: recorded whole, so that it can be kept, tagged, or replaced.

For answers of a few kilobytes. What is streamed must not come through here.

The head of an answer as it goes out: looked at, or given further headers. Bodies pass as they are.
"""

from collections.abc import Callable, Iterable
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
        """Whether it says that what was asked for was done."""
        return 200 <= self.status < 300  # noqa: PLR2004 (HTTP statuses)

    def header(self, name: bytes) -> bytes:
        """The first header of a name (lower case); empty where there is none."""
        return next((value for each, value in self.headers if each == name), b"")

    async def send(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def buffer_response(app: ASGIApp, scope: Scope, receive: Receive) -> BufferedResponse:
    """Have a request answered, and give the answer in place of sending it."""
    answer = BufferedResponse(500)
    body = bytearray()

    async def heard(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, heard)
    answer.body = bytes(body)
    return answer


def map_response_start(send: Send, step: Callable[[Message], Message]) -> Send:
    """A `send` whose answer's head goes through a step, which gives it back or another one."""

    async def sending(message: Message) -> None:
        await send(step(message) if message["type"] == "http.response.start" else message)

    return sending


def append_headers(message: Message, more: Iterable[tuple[bytes, bytes]]) -> Message:
    """A head with further headers, named in lower case."""
    return {**message, "headers": [*message.get("headers", ()), *more]}
