"""Closes connections of slow clients (slowloris protection), on top of uvicorn's protocol.

Limits how long the head of a request may take, how long a client may stop reading a response, and how long a
body may continue after its response. Limits the size of a head, which the parser (llhttp) does not. Answers
what is not HTTP. `strict_body` limits how long a body may take, as it can still respond.
"""

import asyncio
from typing import ClassVar, Final, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.errors import MalformedRequestError

_HEADERS: Final = (
    b"content-type: application/problem+json\r\ncache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\nconnection: close\r\n"
)
# Of a head, and of what a chunked body has between its data. `request_head_checks` has narrower limits.
_UNPARSED_MAX: Final = 65_536
# Requests behind a running one; a buffer can hold thousands.
_PIPELINED_MAX: Final = 16
_NOT_IMPLEMENTED: Final = 501
_VERSION_NOT_SUPPORTED: Final = 505
_LINE_END: Final = b"\n"
# Most bytes of a response that wait for the loop's next step.
_JOINED_MAX: Final = 65_536
# RFC 9112, 3.2: a server must answer 400 to a request of HTTP/1.1 without exactly one Host.
_HTTP_1_0: Final = "1.0"
_HTTP_1_1: Final = "1.1"


class _BadRequestError(Exception):
    """The request is not valid HTTP, or too large; raised in a callback of the parser."""

    def __init__(self, detail: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(detail)
        self.problem = MalformedRequestError(detail, status=status, code=code)


def _describe_excess(what: str) -> str:
    return f"More than {_UNPARSED_MAX} bytes of the {what} arrived. Shorten it."


class _JoiningTransport(asyncio.Transport):
    """Writes the head and the body of a response together: uvicorn writes each, and a system call is dear.

    Buffers writes until the loop's next step. Its other methods are those of the connection's transport.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pending = bytearray()
        for name in ("is_closing", "get_extra_info", "pause_reading", "resume_reading", "abort"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write soon, or at once where much is buffered: flow control must see it."""
        if len(data) > _JOINED_MAX:
            self._flush()
            self._transport.write(data)
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending += data
        if len(self._pending) > _JOINED_MAX:
            self._flush()

    def close(self) -> None:
        """Write what is buffered, and close."""
        self._flush()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol of the connection."""
        self._flush()
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        if self._pending and not self._transport.is_closing():
            self._transport.write(bytes(self._pending))
        self._pending.clear()


class TimeoutHttpProtocol(HttpToolsProtocol):
    """A connection that is closed when its client takes longer than `patience_s` seconds for one step.

    Uvicorn itself has no timeout: a client that sends a byte now and then would hold its connection, and a
    few thousand of them every descriptor.
    """

    patience_s: ClassVar[float] = 30.0

    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _part: Literal["between", "head", "body"] = "between"
    _in_request_line = False
    # Bytes since the last progress: a whole head, or data of a body.
    _unparsed = 0
    _refusal: MalformedRequestError | None = None

    @classmethod
    def of(cls, patience_s: float) -> "type[TimeoutHttpProtocol]":
        """Return the protocol with another timeout (seconds)."""
        return type(cls.__name__, (cls,), {"patience_s": patience_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Start the timeout of the first head."""
        super().connection_made(_JoiningTransport(transport, self.loop))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Process bytes. A new head has a timeout here, a body until its response does not."""
        if self._part == "between":
            self._await_head()
        self._unparsed += len(data)
        super().data_received(data)
        if _LINE_END in data:
            self._in_request_line = False
        if self._unparsed > _UNPARSED_MAX and not self.transport.is_closing():
            what, status, code = "headers", 431, "headers_too_large"
            if self._in_request_line:
                what, status, code = "address", 414, "uri_too_long"
            self._refusal = MalformedRequestError(_describe_excess(what), status=status, code=code)
            self.send_400_response("")
        self._await_next_head()

    def _await_next_head(self) -> None:
        """Start the timeout of a head where no request runs: uvicorn's own ends with any byte."""
        cycle: RequestResponseCycle | None = self.cycle
        idle = cycle is None or cycle.response_complete
        if idle and self._part != "body" and not self.transport.is_closing():
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._part = "head"
        self._in_request_line = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers of a body are ignored: the application has read the headers already."""
        if self._part == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, then start the request."""
        self._check_head()
        self._part = "body"
        self._unparsed = 0
        self._stop_awaiting_head()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser takes no further request after an upgrade that was not accepted.
            self.cycle.keep_alive = False

    def _check_head(self) -> None:
        if len(self.pipeline) >= _PIPELINED_MAX:
            self._refuse("Too many requests in a row. Wait for the responses.")
        version = self.parser.get_http_version()
        if version not in {_HTTP_1_0, _HTTP_1_1}:
            self._refuse("Only HTTP/1.1 and HTTP/1.0 are supported.", status=_VERSION_NOT_SUPPORTED)
        if len(self.url) >= _UNPARSED_MAX:
            # The parser of URLs fails on it, if it arrived within one read.
            self._refuse(_describe_excess("address"), status=414, code="uri_too_long")
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._refuse("Of transfer encodings only chunked is supported.", status=_NOT_IMPLEMENTED)
        if hosts > 1 or (not hosts and version == _HTTP_1_1):
            self._refuse("A request has exactly one Host header.")

    def _refuse(self, detail: str, *, status: int = 400, code: str | None = None) -> None:
        error = _BadRequestError(detail, status=status, code=code)
        self._refusal = error.problem
        raise error

    def on_body(self, body: bytes) -> None:
        """Pass on data of a body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a message: its body has no timeout any more."""
        self._part = "between"
        self._unparsed = 0
        self._stop_awaiting_head()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """After the response, start a timeout for the rest of a body, which is discarded."""
        super().on_response_complete()
        if self._part == "body":
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP with a problem, and close; after a response has begun, only close."""
        problem = self._refusal or MalformedRequestError(msg)
        cycle: RequestResponseCycle | None = self.cycle
        # In a body the input belongs to the last request, but an answer would be taken for the first one's.
        is_last = self._part == "body" and not self.pipeline
        if cycle is None or cycle.response_complete or (is_last and not cycle.response_started):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
            body = bytes(make_error_response(problem).body)
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"".join((STATUS_LINE[problem.status], _HEADERS, length, body)))
        self.transport.close()

    def pause_writing(self) -> None:
        """Start a timeout when the client stops reading."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timeout when the client reads again."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def close_unread(self) -> None:
        """Close if the client does not read: the process stops, and must not wait for it."""
        if self._reading is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timeouts."""
        self._stop_awaiting_head()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().connection_lost(exc)

    def _await_head(self) -> None:
        # Starts at the first byte: further bytes must not restart it.
        if self._head is None:
            self._head = self.loop.call_later(self.patience_s, self.transport.abort)

    def _stop_awaiting_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
