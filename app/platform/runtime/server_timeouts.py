"""HTTP connections that do not wait for ever: uvicorn's own protocol, with a patience.

Owns how long the head of a request may take to arrive, how long an answer may wait to be read on, and how
long a body may go on after its answer; and the answer to what is no HTTP. Must not know what a request means;
how long a body may take that is read is `strict_body`'s, which can still answer.
"""

import asyncio
import sys
from typing import ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.errors import MalformedRequestError

_HEADERS: Final = (
    (b"content-type", b"application/problem+json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


def _unreadable(detail: str, error: BaseException | None, rest: bytes) -> tuple[int, bytes]:
    """Status and body for what h11 could not read; `rest` is what it has of it."""
    status = getattr(error, "error_status_hint", 400)
    code = None
    if status == 431:  # noqa: PLR2004 (an HTTP status)
        code = "headers_too_large"
        if b"\n" not in rest:
            status, code = 414, "uri_too_long"
    problem = make_error_response(MalformedRequestError(detail, status=status, code=code))
    return status, bytes(problem.body)


class TimeoutHttpProtocol(H11Protocol):
    """A connection that is closed when its client takes longer than `patience_s` seconds for one step.

    Uvicorn itself waits for ever: a client that sends a byte now and then would keep its connection, and a
    few thousand of them every descriptor.
    """

    patience_s: ClassVar[float] = 30.0

    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, patience_s: float) -> "type[TimeoutHttpProtocol]":
        """The protocol with another patience (seconds)."""
        return type(cls.__name__, (cls,), {"patience_s": patience_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a new head are waited for, those of a body until it is answered are not."""
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and self._head is not None and not self._is_left():
            self._head.cancel()
            self._head = None

    def on_response_complete(self) -> None:
        """The answer is sent: what is left of a body is waited for like a head, for nobody reads it."""
        super().on_response_complete()
        if self._is_left():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem, and close; where an answer has begun, only close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status, body = _unreadable(msg, sys.exception(), self.conn.trailing_data[0])
            headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
            head = h11.Response(status_code=status, headers=headers)
            answer = [self.conn.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
            self.transport.write(b"".join(part for part in answer if part))
        self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read: begin to wait for it."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def close_unread(self) -> None:
        """Close, if the client does not read: the process stops, and would wait for it in vain."""
        if self._reading is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        for timer in (self._head, self._reading):
            if timer is not None:
                timer.cancel()
        self._head = self._reading = None
        super().connection_lost(exc)

    def _is_left(self) -> bool:
        """Whether a body goes on that was answered before its end: a 401, say, reads nothing of it."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _await_head(self) -> None:
        # From its first byte on, whatever follows: a byte now and then must not begin it anew.
        if self._head is None:
            self._head = self.loop.call_later(self.patience_s, self.transport.abort)
