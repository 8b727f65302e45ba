"""The head of an answer as it goes out: looked at, or given further headers. Bodies pass as they are."""

from collections.abc import Callable, Iterable

from starlette.types import Message, Send


def map_response_start(send: Send, step: Callable[[Message], Message]) -> Send:
    """A `send` whose answer's head goes through a step, which gives it back or another one."""

    async def sending(message: Message) -> None:
        await send(step(message) if message["type"] == "http.response.start" else message)

    return sending


def append_headers(message: Message, more: Iterable[tuple[bytes, bytes]]) -> Message:
    """A head with further headers, named in lower case."""
    return {**message, "headers": [*message.get("headers", ()), *more]}
