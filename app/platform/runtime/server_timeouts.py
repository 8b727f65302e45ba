"""Closes connections of slow clients (slowloris protection), on top of uvicorn's protocol.

Limits how long the head of a request may take, how long a client may stop reading a response, and how long a
body may continue after its response. Answers what is not HTTP. `strict_body` limits how long a body may take,
as it can still respond.
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
    """Return status and body for input that h11 could not parse; `rest` is the unparsed part."""
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

    Uvicorn itself has no timeout: a client that sends a byte now and then would hold its connection, and a
    few thousand of them every descriptor.
    """

    patience_s: ClassVar[float] = 30.0

    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, patience_s: float) -> "type[TimeoutHttpProtocol]":
        """Return the protocol with another timeout (seconds)."""
        return type(cls.__name__, (cls,), {"patience_s": patience_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Start the timeout of the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Process bytes. A new head has a timeout here, a body until its response does not."""
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and self._head is not None and not self._is_left():
            self._head.cancel()
            self._head = None

    def on_response_complete(self) -> None:
        """After the response, start a timeout for the rest of a body, which is discarded."""
        super().on_response_complete()
        if self._is_left():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP with a problem, and close; after a response has begun, only close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status, body = _unreadable(msg, sys.exception(), self.conn.trailing_data[0])
            headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
            head = h11.Response(status_code=status, headers=headers)
            answer = [self.conn.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
            self.transport.write(b"".join(part for part in answer if part))
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
        for timer in (self._head, self._reading):
            if timer is not None:
                timer.cancel()
        self._head = self._reading = None
        super().connection_lost(exc)

    def _is_left(self) -> bool:
        """Return whether a body continues after its response: a 401, for example, reads none of it."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _await_head(self) -> None:
        # Starts at the first byte: further bytes must not restart it.
        if self._head is None:
            self._head = self.loop.call_later(self.patience_s, self.transport.abort)
