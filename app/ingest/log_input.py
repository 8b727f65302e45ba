"""Lets several ingest workers read the replicated log, each its share of the partitions.

A worker owns a partition while it holds its advisory lock. Each second it compares its share with the number
of living workers, releases partitions beyond its share and takes free ones. The positions of a batch are
committed in its transaction (`app.message_log.positions`).
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from app.ingest import prometheus_metrics
from app.ingest.ack_publisher import AckPublisher
from app.ingest.drain_watermark import DrainWatermark
from app.ingest.partition_lag import EVERY_S, PartitionLags
from app.ingest.pipeline.batch_context import Finish
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.settings import IngestSettings
from app.ingest.sources.log_source import LogBatchToken, LogSource
from app.ingest.sources.message_source import MessageBatch, MessageSource
from app.message_log.log_ownership import LogInUse, create_positions, find_log_in_use, name_log
from app.message_log.message_log import LogUnavailableError, MessageLog, PartitionStatus
from app.message_log.partitions import OwnedPartitions
from app.message_log.positions import (
    LogChangedError,
    TakenPartition,
    advance_positions,
    count_fair_share,
    find_kept_positions,
    join_workers,
    list_positions,
    note_lost_records,
    read_positions,
    release_partition,
    reset_positions,
    take_partition,
)
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import list_edges
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import DATABASE_ERRORS, RawConnection, is_transient
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_TEND_EVERY_S: Final = 1.0
_AWAITED_EVERY_S: Final = 0.1
_TRIM_EVERY_S: Final = 30.0
# Above this share of its room, a partition keeps no committed records.
_FULL_SHARE: Final = 0.8
_RETRY_S: Final = 1.0
_WATCH_EVERY_S: Final = 1.0


class EdgeAckPublishers:
    """Publishes acknowledgements to the broker of the edge that received the messages of a box.

    Args:
        broker: The account on all brokers; their addresses are those that edges report.
        client_id: A client identifier that no other process has.
    """

    def __init__(self, broker: BrokerSettings, client_id: str) -> None:
        self._broker = broker
        self._client_id = client_id
        self._publishers: dict[str, tuple[str, int, AckPublisher]] = {}

    async def refresh(self, connection: RawConnection) -> None:
        """Connect to the edges that the database lists, and disconnect from others."""
        edges = {edge.name: (edge.host, edge.port) for edge in await list_edges(connection)}
        for name, (host, port, publisher) in list(self._publishers.items()):
            if edges.get(name) != (host, port):
                del self._publishers[name]
                await publisher.stop(0)
        for name, (host, port) in edges.items():
            if name not in self._publishers:
                broker = self._broker.model_copy(update={"host": host, "port": port})
                publisher = AckPublisher(broker, client_id=self._client_id)
                publisher.start()
                self._publishers[name] = host, port, publisher

    def publish(self, acks: Mapping[str, BoxAck]) -> None:
        """Queue acknowledgements. Those for an edge that is not known are counted as failed."""
        by_edge: dict[str | None, dict[str, BoxAck]] = {}
        for box, ack in acks.items():
            by_edge.setdefault(ack.edge, {})[box] = ack
        for edge, of_edge in by_edge.items():
            known = None if edge is None else self._publishers.get(edge)
            if known is None:
                prometheus_metrics.ACKS_FAILED.inc(len(of_edge))
            else:
                known[2].publish(of_edge)

    async def stop(self) -> None:
        """Publish the queued acknowledgements within two seconds, and stop."""
        await asyncio.gather(*(publisher.stop() for _, _, publisher in self._publishers.values()))
        self._publishers.clear()


class LogInput:
    """A `ConsumerInput` of the partitions that this worker owns.

    Args:
        log: The log, not opened yet.
        log_settings: Number of partitions, and how long committed records are kept.
        settings: Sizes of batches.
        broker: The account on the brokers of the edges.
    """

    def __init__(
        self,
        log: MessageLog,
        log_settings: MessageLogSettings,
        settings: IngestSettings,
        broker: BrokerSettings,
    ) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self._log = log
        self._log_settings = log_settings
        self._half_messages = settings.batch_messages // 2
        self._owned = OwnedPartitions(log_settings.partitions)
        self._source = LogSource(
            log,
            batch_messages=settings.batch_messages,
            batch_bytes=settings.batch_bytes,
            batch_delay_s=settings.batch_delay_ms / 1000,
            buffer_bytes=settings.buffer_bytes,
        )
        self._watermark = DrainWatermark()
        self._acks = EdgeAckPublishers(broker, f"{settings.client_id}-acks-{self.worker}")
        self._log_id: str | None = None
        self._tended_at = 0.0
        self._trimmed_at = time.monotonic()
        self._opening: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._lags = PartitionLags()
        self._measured_at = 0.0
        self._watching: asyncio.Task[None] | None = None
        # When the newest positions of all partitions were read (monotonic), and the positions.
        self._newest: tuple[float, dict[int, int]] | None = None
        self._is_recreated = False
        # Partitions that ended before their committed position at the last look, and at the last two.
        self._short: set[int] = set()
        self._lost: set[int] = set()

    @property
    def waiting_for(self) -> str | None:
        """`the log` while it is not connected, or has not described all its partitions yet."""
        return None if self._source.connected and self._log_id is not None else "the log"

    @property
    def owned(self) -> OwnedPartitions:
        """The partitions that this worker owns."""
        return self._owned

    async def join(self, connection: RawConnection) -> bool:
        """Become one of the workers (LogSettingsError)."""
        if not await join_workers(connection):
            return False
        # Only a worker creates them: they remain removed while a command that closes the log has the lock.
        await create_positions(connection, self._log_settings)
        return True

    async def open(self) -> MessageSource:
        """Start to connect to the log. Partitions are taken once it is connected."""
        self._opening = asyncio.create_task(self._open(), name="its connection to the log")
        return self._source

    async def _open(self) -> None:
        while self._log_id is None:
            try:
                await self._log.open()
                description = await self._log.describe()
            except LogUnavailableError as error:
                _log.warning("log_unavailable", error=str(error))
            else:
                self._log_id = description.log_id
                if description.log_id is None:
                    silent = [each.partition for each in description.partitions if each.leader is None]
                    _log.warning("log_partitions_unavailable", partitions=silent)
            if self._log_id is None:
                await asyncio.sleep(_RETRY_S)
        self._watching = asyncio.create_task(self._watch(), name="its watch over the log")

    async def _watch(self) -> None:
        """Read once a second how far the log is, and whether it is still the same."""
        while True:
            # Before the log is read: records that are committed meanwhile may be newer than its answer.
            asked_at, committed = time.monotonic(), self._source.committed
            try:
                description = await self._log.describe()
            except LogUnavailableError:
                self._newest = None
            else:
                self._is_recreated = description.log_id not in {None, self._log_id}
                self._note_statuses(description.partitions, committed, asked_at)
            await asyncio.sleep(_WATCH_EVERY_S)

    def _note_statuses(
        self, statuses: Sequence[PartitionStatus], committed: Mapping[int, int], asked_at: float
    ) -> None:
        """Note how far the log is; a partition without leader is not known now."""
        newest = {each.partition: each.newest for each in statuses if each.leader is not None}
        self._newest = (asked_at, newest) if len(newest) == self._owned.count else None
        short = {number for number, each in committed.items() if newest.get(number, each) < each}
        # Twice: an engine may not find the newest record of a node that is slow.
        self._lost, self._short = short & self._short, short
        self._source.set_newest_positions(newest, asked_at)
        if asked_at - self._measured_at >= EVERY_S:
            self._measured_at = asked_at
            self._lags.update(newest, self._source.committed)

    async def _check_log(self, connection: RawConnection) -> None:
        """Give up all partitions if the log was closed, recreated, or has lost records that were committed.

        Raises:
            LogChangedError: It was or it has. Take them again.
        """
        expected = LogInUse(self._log_settings.partitions, name_log(self._log_settings))
        used = await find_log_in_use(connection)
        if used != expected:
            raise LogChangedError(f"the positions are those of {used}, not of {expected}")
        if self._is_recreated:
            raise LogChangedError("the log was recreated")
        lost = sorted(self._lost.union(self._source.list_without_tail()))
        if lost:
            prometheus_metrics.LOG_TAIL_LOST.inc(len(lost))
            for number in lost:
                await note_lost_records(connection, number, 0, self.worker)
            await reset_positions(connection, lost, self.worker)
            raise LogChangedError(f"the log has lost the newest records of the partitions {lost}")

    async def _note_removed(self, connection: RawConnection) -> None:
        """Store how many records were removed unread; a count is forgotten once it is stored."""
        for number, count in self._source.removed.items():
            await note_lost_records(connection, number, count, self.worker)
            self._source.forget_removed(number, count)

    async def tend(self, connection: RawConnection, pipeline: IngestPipeline, /) -> None:
        """Take and release partitions, and read the positions for which a record waits.

        Raises:
            RuntimeError: A task of this input has failed by an unforeseen error.
        """
        self._raise_failure()
        await self._note_removed(connection)
        clock = time.monotonic()
        if self._source.awaited and clock - self._tended_at >= _AWAITED_EVERY_S:
            self._source.set_other_positions(await read_positions(connection, self._source.awaited))
        if clock - self._tended_at < _TEND_EVERY_S:
            return
        self._tended_at = clock
        await self._acks.refresh(connection)
        await self._check_log(connection)
        if self._log_id is not None:
            try:
                await self._rebalance(connection, pipeline, self._log_id)
            except DATABASE_ERRORS as error:
                if is_transient(error):
                    # The session may have locked partitions that this worker does not read.
                    connection.terminate()
                raise
        if clock - self._trimmed_at >= _TRIM_EVERY_S and (self._trimming is None or self._trimming.done()):
            self._trimmed_at = clock
            keep = timedelta(seconds=self._log_settings.keep_s)
            kept = await find_kept_positions(connection, list(self._source.committed), keep)
            self._trimming = asyncio.create_task(self._trim(kept), name="its trimming of the log")

    def _raise_failure(self) -> None:
        """Raise the error of a task that has failed: the worker would wait for the log for ever."""
        for task in self._list_tasks():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise RuntimeError(f"the worker cannot go on without {task.get_name()}") from error

    def _list_tasks(self) -> list[asyncio.Task[None]]:
        tasks = (self._opening, self._trimming, self._watching)
        return [task for task in tasks if task is not None]

    async def _rebalance(self, connection: RawConnection, pipeline: IngestPipeline, log_id: str) -> None:
        positions = self._source.committed
        share = await count_fair_share(connection, self._owned.count)
        if len(positions) == share:
            return
        if len(positions) > share:
            await self._release(connection, pipeline, sorted(positions)[share:])
            return
        free = [each.partition for each in await list_positions(connection) if not each.is_owned]
        taken: dict[int, TakenPartition] = {}
        for partition in free[: share - len(positions)]:
            found = await take_partition(connection, partition, worker=self.worker, log_id=log_id)
            if found is not None:
                taken[partition] = found
            if found is not None and found.is_recreated:
                prometheus_metrics.LOG_RECREATED.inc()
                _log.error("log_recreated", partition=partition, log_id=log_id)
        if taken:
            _log.info("partitions_taken", partitions=sorted(taken), share=share)
            try:
                await pipeline.change_ownership(connection, [*positions, *taken])
            finally:
                await self._source.set_partitions(
                    positions | {number: each.position for number, each in taken.items()},
                    {number: each.digest for number, each in taken.items()},
                )
                self._watermark.reset()

    async def _release(
        self, connection: RawConnection, pipeline: IngestPipeline, partitions: list[int]
    ) -> None:
        _log.info("partitions_released", partitions=partitions)
        committed = self._source.committed
        kept = {number: committed[number] for number in committed.keys() - set(partitions)}
        await self._source.set_partitions(kept)
        self._watermark.reset()
        try:
            await pipeline.change_ownership(connection, kept)
        finally:
            for partition in partitions:
                await release_partition(connection, partition)

    def finish(self, batch: MessageBatch, /) -> Finish | None:
        """Return what commits the positions of a batch (FencedError)."""
        token = batch.token
        if not isinstance(token, LogBatchToken):
            raise TypeError("the batch is another source's")

        async def advance(connection: RawConnection) -> None:
            await advance_positions(connection, self.worker, token.advances)

        return advance

    def may_have_more(self, batch: MessageBatch, /) -> bool:
        """Whether the log may have more messages. Timers need not wait for them, but they come first."""
        return len(batch) > self._half_messages

    async def find_timer_time(self, connection: RawConnection, /) -> datetime | None:
        """Return the time up to which all messages of this worker's boxes are stored."""
        committed = self._source.committed
        return await self._watermark.advance(connection, self._newest, committed) if committed else None

    def publish_acks(self, acks: Mapping[str, BoxAck]) -> None:
        """Publish acknowledgements to the edges through which the messages came."""
        self._acks.publish(acks)

    async def _trim(self, kept: Mapping[int, int]) -> None:
        """Let the log remove records that were committed long ago; all committed ones where room is short.

        Args:
            kept: partition → position up to which records were committed long ago.
        """
        committed = self._source.committed
        enough = _FULL_SHARE * self._log_settings.max_bytes
        try:
            description = await self._log.describe()
            if description.log_id != self._log_id:
                return
            for status in description.partitions:
                number = status.partition
                if number in committed and number in kept:
                    upto = committed[number] if status.size > enough else kept[number]
                    # The last committed record remains: it shows that the log is still the same. Beyond the
                    # newest record, positions would be those of a log that is gone.
                    if 0 < status.oldest < upto <= status.newest:
                        await self._log.trim(number, upto)
        except LogUnavailableError as error:
            _log.warning("log_not_trimmed", error=str(error))

    async def close(self) -> None:
        """Stop reading, publish queued acknowledgements, and disconnect."""
        tasks = self._list_tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            # Errors that `tend` has not raised remain for the event loop to log.
            await asyncio.wait(tasks)
        self._lags.clear()
        await self._source.stop()
        await self._acks.stop()
        await self._log.close()
