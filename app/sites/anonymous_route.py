"""Routes that anybody may call: their bodies are small, so that reading them costs little."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from starlette.types import Message, Receive

from app.core.strict_body import StrictRoute, UnreadableBodyError

BODY_MAX: Final = 16_384
"""Bytes; a box with the longest of names has a tenth of it."""


class AnonymousRoute(StrictRoute):
    """A strict route whose body has at most `BODY_MAX` bytes, whatever `api.max_body_bytes` allows."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The strict handler, on a body that ends in an error once it is too long."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(Request(request.scope, _limited(request.receive)))

        return handle


def _limited(receive: Receive) -> Receive:
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > BODY_MAX:
            raise UnreadableBodyError("body_too_large", f"The body is larger than {BODY_MAX} bytes")
        return message

    return limited
