"""`python -m bench.receiver PORT`: a client's receiver that costs next to nothing, in a process of its own.

It answers each POST with 204 at once; below `/hang` never. What came it notes by `webhook-id` and the
machine's monotonic clock, and gives at `GET /`, as `{path: {id: [instant, …]}}`.
"""

import asyncio
import json
import sys
import time
from typing import Final, cast, override

import uvloop

_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_ID: Final = b"webhook-id:"
_HANG: Final = "/hang"

type Came = dict[str, dict[str, list[float]]]


class _Connection(asyncio.Protocol):
    """One connection: whole requests, one after the other."""

    def __init__(self, came: Came) -> None:
        self._came = came
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, mark, rest = self._buffer.partition(_HEAD_END)
            if not mark:
                return
            length = int(_field(head, _LENGTH) or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._take(head)

    def _take(self, head: bytes) -> None:
        if self._transport is None:
            return
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            body = json.dumps(self._came).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        path, identifier = target.decode(), (_field(head, _ID) or b"").decode()
        self._came.setdefault(path, {}).setdefault(identifier, []).append(time.monotonic())
        if not path.startswith(_HANG):
            self._transport.write(_TAKEN)


def _field(head: bytes, name: bytes) -> bytes | None:
    lowered = head.lower()
    at = lowered.find(name)
    if at < 0:
        return None
    return head[at + len(name) :].partition(b"\r\n")[0].strip()


async def serve(port: int) -> None:
    """Listen on loopback until the process is ended."""
    came: Came = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(came), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
