"""Keeps the replicated log in NATS JetStream: one stream per partition.

A stream refuses records when it is full (`discard: new`), stores a repeated record once within its duplicate
window, and publishes the sequence number of each stored record, which wakes the readers.
"""

import asyncio
import hashlib
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import nats
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext, api

from app.message_log.jetstream_reader import JetStreamReader
from app.message_log.message_log import (
    MOST_RECORD_BYTES,
    LogDescription,
    LogFullError,
    LogUnavailableError,
    PartitionReader,
    PartitionStatus,
    check_record_size,
)
from app.message_log.settings import MessageLogSettings

DUPLICATE_WINDOW_S: Final = 1800.0
"""How long a stream remembers record ids: an append repeated within it is stored once."""

_HEADER_BYTES: Final = 1024
_RECORD_ID: Final = "Nats-Msg-Id"
# The client notices a node that hangs after two unanswered pings.
_PING_S: Final = 1
_RECONNECT_S: Final = 0.2
_CONNECT_S: Final = 2
# A leader answers within milliseconds. The wait doubles: a slow disk is not flooded with repeats.
_FIRST_WAIT_S: Final = 1.0
_RETRY_S: Final = 0.1
_LOG_EVERY_S: Final = 60.0
# Longer than a leader without majority remains leader (10 s).
_UNFINISHED_S: Final = 15.0
# More than the largest record: an append may begin while the client reconnects.
_PENDING_BYTES: Final = 16 * 2**20
_FULL_CODES: Final = {
    10023,  # insufficient resources: the node's disk or limit
    10047,  # insufficient storage resources
    10077,  # the stream's max_bytes
}
_EXISTS_CODE: Final = 10058
_STREAM_ID: Final = "vigie_stream_id"
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _PublishAttempt:
    """The message id under which a record is published.

    A leader notes a message id, with the sequence number 0, before a majority has the message. It answers a
    repeat with 0 from then on: also if it refused the first message because the stream is full.
    """

    number: int = 0
    unfinished_since: float | None = None

    def message_id(self, record_id: str) -> str:
        return f"{record_id}/{self.number}" if self.number else record_id

    def renew(self) -> None:
        """Take another message id: the leader will not store this one."""
        self.number += 1
        self.unfinished_since = None

    def note_unfinished(self, now: float) -> None:
        """Note an answer 0. After some seconds of them, no leader has the message in progress."""
        if self.unfinished_since is None:
            self.unfinished_since = now
        elif now - self.unfinished_since >= _UNFINISHED_S:
            self.renew()


class JetStreamLog:
    """A log in NATS JetStream (`MessageLog`).

    Args:
        settings: The log's servers, account, name, partitions, replicas and limits.
        client: The name under which the servers list the connection.
    """

    def __init__(self, settings: MessageLogSettings, *, client: str = "vigie") -> None:
        self._settings = settings
        self._client_name = client
        self._connection: Client | None = None
        self._streams: JetStreamContext | None = None
        self._connecting = asyncio.Lock()
        self._is_closing = False
        self._created = False
        self._replicas: dict[int, tuple[str, ...]] = {}
        self._attempts: dict[str, _PublishAttempt] = {}
        self._error_logged_at = -math.inf

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a node."""
        return self._connection is not None and self._connection.is_connected

    @property
    def max_record_bytes(self) -> int:
        """The largest record: 4 MiB, or less if the servers' `max_payload` is smaller."""
        if self._connection is None:
            return MOST_RECORD_BYTES
        return min(MOST_RECORD_BYTES, self._connection.max_payload - _HEADER_BYTES)

    async def open(self) -> None:
        """Connect, and create or adjust the streams.

        Raises:
            LogUnavailableError: No node answers, or the nodes cannot hold the streams. Call again.
        """
        await self._connect_if_closed()
        if not self._created:
            partitions = range(self._settings.partitions)
            await _gather_all([self._make_stream(partition) for partition in partitions])
            self._created = True

    async def _connect_if_closed(self) -> None:
        """Connect for the first time, or again: the client gives up for good after some refusals."""
        if self._is_closing or (self._connection is not None and not self._connection.is_closed):
            return
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                await self._connect()

    async def _connect(self) -> None:
        settings = self._settings
        scheme = "tls" if settings.tls else "nats"
        try:
            tls = ssl.create_default_context(cafile=settings.ca_file or None) if settings.tls else None
        except OSError as error:
            raise LogUnavailableError(f"the CA certificates cannot be read: {error!r}") from error
        connection = Client()
        try:
            async with asyncio.timeout(settings.timeout_s):
                await connection.connect(
                    servers=[f"{scheme}://{server}" for server in settings.servers],
                    name=self._client_name,
                    user=settings.username or None,
                    password=settings.password.get_secret_value() or None,
                    tls=tls,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]  # it only sleeps
                    connect_timeout=_CONNECT_S,
                    ping_interval=_PING_S,
                    max_outstanding_pings=2,
                    pending_size=_PENDING_BYTES,
                    error_cb=self._report_error,
                )
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await connection.close()
            raise LogUnavailableError(f"no node of the log answers: {error!r}") from error
        self._connection = connection
        self._streams = connection.jetstream(timeout=settings.timeout_s)

    async def _report_error(self, error: Exception) -> None:
        """Log an error of the connection; once a minute, as the client tries again five times a second."""
        now = time.monotonic()
        if now - self._error_logged_at >= _LOG_EVERY_S:
            self._error_logged_at = now
            _log.warning("message_log_connection", error=repr(error))

    def _stream_name(self, partition: int) -> str:
        return f"{self._settings.name}-{partition}"

    async def _make_stream(self, partition: int) -> None:
        name = self._stream_name(partition)
        config = api.StreamConfig(
            name=name,
            subjects=[f"{name}.records"],
            storage=api.StorageType.FILE,
            retention=api.RetentionPolicy.LIMITS,
            discard=api.DiscardPolicy.NEW,
            num_replicas=self._settings.replicas,
            max_bytes=self._settings.max_bytes,
            duplicate_window=DUPLICATE_WINDOW_S,
            allow_direct=True,
            republish=api.RePublish(src=f"{name}.records", dest=f"{name}.stored", headers_only=True),
            metadata={_STREAM_ID: uuid4().hex},
        )
        async with self._answers() as streams:
            held = await _find_or_add_stream(streams, config)
            wanted = config.evolve(metadata={**(config.metadata or {}), **(held.metadata or {})})
            before = held.as_dict()
            if any(before.get(key) != value for key, value in wanted.as_dict().items()):
                # Other limits or replicas than before.
                await streams.update_stream(wanted)

    @asynccontextmanager
    async def _answers(self) -> AsyncIterator[JetStreamContext]:
        """Turn the client's errors into those of the log."""
        if self._streams is None:
            raise LogUnavailableError("the log is not open")
        await self._connect_if_closed()
        try:
            yield self._streams
        except nats.js.errors.APIError as error:
            if error.err_code in _FULL_CODES:
                raise LogFullError(error.description or "the log has no room") from error
            raise LogUnavailableError(f"the log refused: {error}") from error
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise LogUnavailableError(f"the log does not answer: {error!r}") from error

    async def append(self, partition: int, data: bytes, *, record_id: str) -> int | None:
        """Append a record, and return its position once a majority of the replicas has it.

        Raises:
            LogUnavailableError: It is not known whether the record was appended.
            LogFullError: It was not appended.
            ValueError: It is empty, or larger than `max_record_bytes`.
        """
        check_record_size(data, self.max_record_bytes)
        async with self._answers() as streams:
            return await self._publish(streams, f"{self._stream_name(partition)}.records", data, record_id)

    async def _publish(self, streams: JetStreamContext, subject: str, data: bytes, record_id: str) -> int:
        """Publish until a leader has stored the record, at most for `timeout_s`."""
        deadline = time.monotonic() + self._settings.timeout_s
        wait_s = _FIRST_WAIT_S
        attempt = self._attempts.setdefault(record_id, _PublishAttempt())
        while True:
            try:
                stored = await streams.publish(
                    subject,
                    data,
                    timeout=min(wait_s, max(_RETRY_S, deadline - time.monotonic())),
                    headers={_RECORD_ID: attempt.message_id(record_id)},
                )
                if stored.seq:
                    del self._attempts[record_id]
                    return stored.seq
                attempt.note_unfinished(time.monotonic())
            except nats.js.errors.APIError as error:
                if error.err_code in _FULL_CODES:
                    attempt.renew()
                raise
            except (nats.errors.TimeoutError, nats.js.errors.NoStreamResponseError):
                attempt.unfinished_since = None
            if time.monotonic() + _RETRY_S >= deadline:
                raise nats.errors.TimeoutError
            wait_s *= 2
            await asyncio.sleep(_RETRY_S)

    def read(self, partition: int, after: int) -> PartitionReader:
        """Return a reader of the records after a position.

        Raises:
            LogUnavailableError: The log was never opened.
        """
        if self._connection is None or self._streams is None:
            raise LogUnavailableError("the log is not open")
        return JetStreamReader(self._connection, self._streams, self._stream_name(partition), after)

    async def find_newest_position(self, partition: int) -> int:
        """Return the position of the newest record; 0 if there never was one (LogUnavailableError)."""
        async with self._answers() as streams:
            info = await streams.stream_info(self._stream_name(partition))
        return info.state.last_seq

    async def trim(self, partition: int, before: int) -> None:
        """Remove the records before a position (LogUnavailableError)."""
        if before > 1:
            async with self._answers() as streams:
                await streams.purge_stream(self._stream_name(partition), seq=before)

    async def describe(self) -> LogDescription:
        """Return the id of the log, and the status of each partition; one without leader has no figures.

        It connects again if the client has given up: a process that only reads calls nothing else. Readers of
        the former connection end with an error.

        The id is a digest of the ids that the streams have got when they were created. Their creation times
        would not do: each node has its own after a restart.

        Raises:
            LogUnavailableError: There is no connection.
        """
        await self._connect_if_closed()
        if not self.connected:
            raise LogUnavailableError("no connection to a node of the log")
        partitions = range(self._settings.partitions)
        infos = await asyncio.gather(*(self._find_info(partition) for partition in partitions))
        ids = [((info and info.config.metadata) or {}).get(_STREAM_ID) for info in infos]
        log_id = None if None in ids else hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]
        return LogDescription(log_id, list(map(self._describe_partition, partitions, infos)))

    async def _find_info(self, partition: int) -> api.StreamInfo | None:
        """Return the state of a stream; None if it does not answer."""
        with suppress(LogUnavailableError):
            async with self._answers() as streams:
                return await streams.stream_info(self._stream_name(partition))
        return None

    def _describe_partition(self, partition: int, info: api.StreamInfo | None) -> PartitionStatus:
        if info is None:
            return PartitionStatus(partition, None, self._replicas.get(partition, ()), (), 0, 0, 0)
        cluster = info.cluster or api.ClusterInfo()
        leader = () if cluster.leader is None else (cluster.leader,)
        followers = [(peer.name or "", peer) for peer in cluster.replicas or []]
        self._replicas[partition] = (*leader, *sorted(name for name, _ in followers))
        state = info.state
        return PartitionStatus(
            partition=partition,
            leader=cluster.leader,
            replicas=self._replicas[partition],
            in_sync=(*leader, *sorted(name for name, peer in followers if peer.current and not peer.offline)),
            oldest=state.first_seq if state.messages else 0,
            newest=state.last_seq,
            size=state.bytes,
        )

    async def close(self) -> None:
        """Disconnect. Readers end."""
        self._is_closing = True
        connection, self._connection, self._streams = self._connection, None, None
        if connection is not None:
            await connection.close()


async def _find_or_add_stream(streams: JetStreamContext, config: api.StreamConfig) -> api.StreamConfig:
    """Return the configuration of a stream, which is created if there is none."""
    name = str(config.name)
    try:
        return (await streams.stream_info(name)).config
    except nats.js.errors.NotFoundError:
        try:
            return (await streams.add_stream(config)).config
        except nats.js.errors.BadRequestError as error:
            if error.err_code != _EXISTS_CODE:
                raise
            # Another process was faster.
            return (await streams.stream_info(name)).config


async def _gather_all[T](calls: list[Awaitable[T]]) -> list[T]:
    """Wait for all calls, then raise the first error: none of them is left running."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
