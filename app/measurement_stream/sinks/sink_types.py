"""Defines the interface of sinks, their configuration and failures.

A sink confirms a batch only when its receiver has stored it, or has taken charge of it. It may get the same
batch again, under the same ids.
"""

import asyncio
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from app.measurement_stream.formats.format_registry import FORMATS, FormatName, MeasurementFormat
from app.measurement_stream.items import Item, StreamPosition
from app.measurement_stream.measurement_batch import MeasurementBatch, locate_item
from app.measurement_stream.sinks.guarded_addresses import (
    ANSWER_TOO_LARGE,
    AnswerLimit,
    ServerAddress,
    resolve_allowed_addresses,
)
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.http.guarded_resolver import AddressRefusedError

type SinkKind = Literal[
    "webhook", "mqtt", "kafka", "nats", "rabbitmq", "postgresql", "influxdb", "prometheus"
]

REFUSED: Final = "refused"
"""The reason of a receiver that answered, and refused the batch."""

FORMER_SECRETS: Final = "former_secrets"
"""The credential of a webhook that has the secrets of before, each with `secret` and `expires_at`."""

AT_ONCE: Final = 200
"""Messages that wait for their confirmations together."""

_ADDRESS_REFUSED: Final = "address_refused"
# Without the address: clients must not learn the addresses behind names of the operator's network.
_ADDRESS_REFUSED_DETAIL: Final = "The server has an address to which Vigie does not connect."
_CLOSE_S: Final = 1.0
_MOST_DETAIL: Final = 500


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """The configuration of a subscription's sink.

    Attributes:
        subscription_id: the subscription.
        organisation_id: its organisation.
        kind: the kind of sink.
        format: the format of bodies or messages; None if the sink has only one.
        gzip: whether bodies are compressed, where the sink has bodies.
        metrics: the metrics of the filter; None: all.
        target: where to send.
        credentials: its secrets, opened.
    """

    subscription_id: UUID
    organisation_id: UUID
    kind: SinkKind
    format: FormatName | None
    gzip: bool
    metrics: tuple[str, ...] | None
    target: Mapping[str, Any]
    credentials: Mapping[str, Any]

    @property
    def chosen_format(self) -> MeasurementFormat:
        """The format of a sink that has several."""
        if self.format is None:
            raise SinkError("not_configured", f"a sink of the kind {self.kind} needs a format")
        return FORMATS[self.format]


class SinkError(Exception):
    """A batch was not confirmed.

    Attributes:
        reason: as in `AttemptOutcome`, or `REFUSED`.
        detail: what the receiver said, for the client.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class MeasurementSink(Protocol):
    """Sends batches to one receiver. A failure is an outcome, not an exception."""

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        """Send a batch at `now` (the database's time), and wait for the receiver's confirmation."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class UnusableSink:
    """Stands for a sink that cannot be used: each attempt fails, and its owner sees why.

    Args:
        detail: Why it cannot be used.
    """

    def __init__(
        self, detail: str = "this installation cannot decrypt the secrets of the sink: give them again"
    ) -> None:
        self._detail = detail

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:  # noqa: ARG002 (other sinks need them)
        """Return the failure."""
        return AttemptOutcome("not_configured", None, self._detail, 0.0)

    async def close(self) -> None:
        """Do nothing."""


_KINDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (AddressRefusedError, _ADDRESS_REFUSED),
    (ssl.SSLError, "tls_failed"),
    (socket.gaierror, "name_unresolved"),
    (TimeoutError, "timeout"),
    (ConnectionError, "connect_failed"),
    (OSError, "connect_failed"),
)


def classify_error(error: BaseException) -> str:
    """Return the reason of an error of a connection, also of one that a library has wrapped."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, reason in _KINDS:
            if isinstance(cause, kind):
                return reason
        cause = cause.__cause__ or cause.__context__
    return "response_broken"


def shorten_detail(text: str) -> str:
    """Return a text as PostgreSQL can store it, shortened."""
    return text.replace("\0", "\ufffd")[:_MOST_DETAIL]


def _retrieve_error(task: asyncio.Future[None]) -> None:
    """Retrieve the error of a task that is not awaited: it follows from the end of the connection."""
    if not task.cancelled():
        task.exception()


class ConnectedSink(ABC):
    """A sink with a connection of its own, which it opens when needed and closes after a failure.

    An attempt ends `timeout_s` after its begin, and at most two seconds later where a library hangs. With
    TLS, the server may send `MOST_ANSWER_BYTES` meanwhile.

    Args:
        config: The sink's configuration.
        timeout_s: The longest that an attempt takes, with its connection.
        allow_private: Whether private addresses are allowed.
    """

    errors: tuple[type[Exception], ...] = ()
    """The errors of the sink's library, besides those of the system."""

    def __init__(self, config: SinkConfig, timeout_s: float, *, allow_private: bool) -> None:
        self.config = config
        self.timeout_s = timeout_s
        self.allow_private = allow_private
        self.answers = AnswerLimit()
        # The last item that the receiver has confirmed with all before it, and the delivery of its batch.
        self._confirmed: tuple[UUID, StreamPosition] | None = None
        self._failures = 0

    @abstractmethod
    async def deliver(self, batch: MeasurementBatch) -> None:
        """Send a batch and wait for its confirmation (SinkError, or an error of the connection)."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the connection, if there is one."""

    async def close(self) -> None:
        """Close the connection, without waiting for a server that hangs."""
        closing = asyncio.ensure_future(self.disconnect())
        closing.add_done_callback(_retrieve_error)
        try:
            await asyncio.wait((closing,), timeout=_CLOSE_S)
        finally:
            closing.cancel()

    async def resolve(self, server: ServerAddress) -> str:
        """Resolve a server to an allowed address; each failed attempt is followed by one at the next address.

        Raises:
            AddressRefusedError: At least one of its addresses is forbidden.
            OSError: It has no address.
        """
        found = await resolve_allowed_addresses(server, allow_private=self.allow_private)
        return found[self._failures % len(found)]

    async def publish_each(
        self, batch: MeasurementBatch, publish: Callable[[Item], Awaitable[object]]
    ) -> None:
        """Publish items as messages, some at once.

        An attempt that ended early is continued after the messages that were confirmed; a rewind or a replay
        sends everything. An error of `publish` is raised.
        """
        left = list(batch.items)
        if self._confirmed is not None and self._confirmed[0] == batch.delivery_id:
            left = [item for item in left if locate_item(item) > self._confirmed[1]]
        for begin in range(0, len(left), AT_ONCE):
            chunk = left[begin : begin + AT_ONCE]
            await asyncio.gather(*map(publish, chunk))
            self._confirmed = batch.delivery_id, locate_item(chunk[-1])

    def describe(self, error: Exception) -> SinkError:
        """Turn an error of the library into a reason and a detail."""
        reason = classify_error(error)
        if reason == _ADDRESS_REFUSED:
            return SinkError(reason, _ADDRESS_REFUSED_DETAIL)
        return SinkError(reason, shorten_detail(str(error)) or type(error).__name__)

    async def _deliver_in_time(self, batch: MeasurementBatch) -> None:
        """Deliver a batch, or break the attempt off at the deadline.

        A cancellation alone may not end it: asyncpg then sends ROLLBACK, and waits for a server that hangs
        without a limit. So the connection is closed first, and the attempt is not awaited for longer than
        `_CLOSE_S`.
        """
        delivering = asyncio.ensure_future(self.deliver(batch))
        delivering.add_done_callback(_retrieve_error)
        try:
            async with asyncio.timeout(self.timeout_s) as deadline:
                self.answers.begin(deadline)
                await asyncio.wait((delivering,))
        finally:
            self.answers.end()
            if not delivering.done():
                try:
                    await self.close()
                finally:
                    delivering.cancel()
                await asyncio.wait((delivering,), timeout=_CLOSE_S)
        if delivering.cancelled():
            # The library cancelled it: Vigie cancels it after the deadline only.
            raise ConnectionAbortedError("the connection was closed")
        delivering.result()

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:  # noqa: ARG002 (others need it)
        """Send a batch, within the timeout."""
        began = time.perf_counter()
        reason: str = DELIVERED
        detail: str | None = None
        failures: tuple[type[Exception], ...] = (OSError, TimeoutError, *self.errors)
        try:
            await self._deliver_in_time(batch)
        except SinkError as error:
            reason, detail = error.reason, error.detail
        except failures as error:
            described = self.describe(error)
            reason, detail = described.reason, described.detail
        if self.answers.is_exceeded:
            # Libraries have errors of their own for a connection that was broken off.
            reason, detail = "response_broken", ANSWER_TOO_LARGE
        if reason in {DELIVERED, REFUSED}:
            self._confirmed = None
        if reason != DELIVERED:
            self._failures += 1
            await self.close()
        return AttemptOutcome(
            reason,
            None,
            None if detail is None else shorten_detail(detail),
            (time.perf_counter() - began) * 1000,
        )
