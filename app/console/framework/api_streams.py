"""Passes a file of the API on to the browser while the API makes it, without holding all of it in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.console.framework.api_calls import ConsoleApi, QueryValue, encode_query

_PASSED_HEADERS: Final = (
    "content-type",
    "content-disposition",
    "content-security-policy",
    "content-language",
)
_PARTS_WAITING: Final = 4
_ERROR: Final = 400


class TruncatedFileError(Exception):
    """The API ended a file before its end. The connection is closed: it must not look whole."""


class _StreamedCall:
    """A call of the API whose body is read part by part.

    A slow browser slows the API down: at most a few parts wait.
    """

    def __init__(self, api: ConsoleApi, path: str, query: str) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._free = asyncio.Semaphore(_PARTS_WAITING)
        self._is_over = asyncio.Event()
        self._task = asyncio.create_task(self._run(api, path, query))

    async def _run(self, api: ConsoleApi, path: str, query: str) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "headers": [(b"host", b"127.0.0.1"), *api.raw_headers()],
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "server": ("127.0.0.1", None),
            "client": api.client,
            "root_path": "",
        }
        is_asked = False

        async def receive() -> Message:
            nonlocal is_asked
            if not is_asked:
                is_asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._is_over.wait()
            return {"type": "http.disconnect"}

        try:
            await api.app(scope, receive, self._put)
        finally:
            # Does not wait for a free place: the reader may have left.
            self._messages.put_nowait(None)

    async def _put(self, message: Message) -> None:
        await self._free.acquire()
        self._messages.put_nowait(message)

    async def _get(self) -> Message | None:
        message = await self._messages.get()
        self._free.release()
        return message

    async def start(self) -> Message:
        """Wait for the head of the response."""
        try:
            message = await self._get()
        except asyncio.CancelledError:
            self.stop()
            raise
        if message is None:
            await self._task
            raise TruncatedFileError
        return message

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body.

        Raises:
            TruncatedFileError: The API ended before the end of the body.
        """
        try:
            while (message := await self._get()) is not None:
                yield message.get("body", b"")
                if not message.get("more_body", False):
                    # The API counts a file as ended, for its limits, before the browser does.
                    self._is_over.set()
                    await self._task
                    return
            raise TruncatedFileError
        finally:
            self.stop()

    def stop(self) -> None:
        """End the call; the API sees it as a client that disconnected."""
        self._is_over.set()
        self._task.cancel()


class _FileResponse(StreamingResponse):
    """The parts of a call. It ends the call, also if the browser left before the first part."""

    def __init__(self, call: _StreamedCall, headers: Mapping[str, str]) -> None:
        super().__init__(call.parts(), headers=headers)
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A generator that was never started does not run its own `finally`.
            self._call.stop()


async def stream_file(api: ConsoleApi, path: str, query: Mapping[str, QueryValue]) -> Response:
    """Stream a file of the API to the browser.

    Args:
        api: The API as the person sees it.
        path: The path of the file.
        query: Its query parameters.

    Raises:
        SignInNeededError: The session has ended.
        ApiProblemError: The API refused the call.
    """
    call = _StreamedCall(api, path, encode_query(query))
    head = await call.start()
    headers = {name.decode(): value.decode("latin-1") for name, value in head["headers"]}
    if head["status"] >= _ERROR:
        body = b"".join([part async for part in call.parts()])
        raise api.make_error(head["status"], headers, body)
    kept = {name: headers[name] for name in _PASSED_HEADERS if name in headers}
    return _FileResponse(call, {**kept, "Cache-Control": "no-store"})
