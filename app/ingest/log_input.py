"""Lets several ingest workers read the replicated log, each its share of the partitions.

A worker owns a partition while it holds its advisory lock. Each second it compares its share with the number
of workers that live, gives up what is too much and takes what nobody has. The positions of a batch are
committed in its transaction (`app.message_log.positions`).
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
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
from app.message_log.message_log import LogUnavailableError, MessageLog
from app.message_log.partitions import OwnedPartitions
from app.message_log.positions import (
    FencedError,
    advance_positions,
    count_fair_share,
    create_positions,
    find_kept_positions,
    join_workers,
    list_positions,
    read_positions,
    release_partition,
    reset_positions,
    take_partition,
)
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import list_edges
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import RawConnection
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
        """Follow the edges that the database names."""
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
        """Publish what is queued within two seconds, and stop."""
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

    waiting_for = "the log"

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
        # When the newest positions of all partitions were asked for (monotonic), and what they are.
        self._newest: tuple[float, dict[int, int]] | None = None
        self._is_made_anew = False
        # Partitions that have lost records which were committed.
        self._lost: list[int] = []

    @property
    def owned(self) -> OwnedPartitions:
        """The partitions that this worker owns."""
        return self._owned

    async def join(self, connection: RawConnection) -> bool:
        """Become one of the workers (PartitionCountError)."""
        await create_positions(connection, self._log_settings.partitions)
        return await join_workers(connection)

    async def open(self) -> MessageSource:
        """Start to connect to the log. Partitions are taken once it is connected."""
        self._opening = asyncio.create_task(self._open())
        return self._source

    async def _open(self) -> None:
        while True:
            try:
                await self._log.open()
                self._log_id = await self._log.read_id()
            except LogUnavailableError as error:
                _log.warning("log_unavailable", error=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                break
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Read once a second how far the log is, and whether it is still the same."""
        while True:
            # Before the log is asked: what is committed meanwhile may be newer than its answer.
            asked_at, committed = time.monotonic(), self._source.committed
            try:
                self._is_made_anew = await self._log.read_id() != self._log_id
                statuses = await self._log.describe()
            except LogUnavailableError:
                self._newest = None
            else:
                newest = {each.partition: each.newest for each in statuses}
                self._newest = asked_at, newest
                self._lost = [number for number, each in committed.items() if newest.get(number, each) < each]
                self._source.set_newest_positions(newest, asked_at)
                if asked_at - self._measured_at >= EVERY_S:
                    self._measured_at = asked_at
                    self._lags.update(newest, self._source.committed)
            await asyncio.sleep(_WATCH_EVERY_S)

    async def _check_log(self, connection: RawConnection) -> None:
        """Give up all partitions if the log is another one, or has lost records that were committed.

        Raises:
            FencedError: It is or it has. Take them anew.
        """
        if self._is_made_anew:
            raise FencedError("the log was made anew")
        if self._lost:
            await reset_positions(connection, self._lost, self.worker)
            raise FencedError(f"the log has lost the newest records of the partitions {self._lost}")

    async def tend(self, connection: RawConnection, pipeline: IngestPipeline, /) -> None:
        """Take and release partitions, and read the positions for which a record waits."""
        clock = time.monotonic()
        if self._source.awaited and clock - self._tended_at >= _AWAITED_EVERY_S:
            self._source.set_other_positions(await read_positions(connection, self._source.awaited))
        if clock - self._tended_at < _TEND_EVERY_S:
            return
        self._tended_at = clock
        await self._acks.refresh(connection)
        await self._check_log(connection)
        if self._log_id is not None:
            await self._rebalance(connection, pipeline, self._log_id)
        if clock - self._trimmed_at >= _TRIM_EVERY_S and (self._trimming is None or self._trimming.done()):
            self._trimmed_at = clock
            keep = timedelta(seconds=self._log_settings.keep_s)
            kept = await find_kept_positions(connection, list(self._source.committed), keep)
            self._trimming = asyncio.create_task(self._trim(kept))

    async def _rebalance(self, connection: RawConnection, pipeline: IngestPipeline, log_id: str) -> None:
        positions = self._source.committed
        share = await count_fair_share(connection, self._owned.count)
        if len(positions) == share:
            return
        if len(positions) > share:
            await self._release(connection, pipeline, sorted(positions)[share:])
            return
        free = [each.partition for each in await list_positions(connection) if not each.is_owned]
        taken = {}
        for partition in free[: share - len(positions)]:
            position = await take_partition(connection, partition, worker=self.worker, log_id=log_id)
            if position is not None:
                taken[partition] = position
        if taken:
            _log.info("partitions_taken", partitions=sorted(taken), share=share)
            try:
                await pipeline.change_ownership(connection, [*positions, *taken])
            finally:
                await self._source.set_partitions(positions | taken)
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
            if await self._log.read_id() != self._log_id:
                return
            for status in await self._log.describe():
                number = status.partition
                if number in committed and number in kept:
                    upto = committed[number] if status.size > enough else kept[number]
                    # Beyond the newest record, positions would be those of a log that is gone.
                    if 0 < status.oldest <= upto <= status.newest:
                        await self._log.trim(number, upto + 1)
        except LogUnavailableError as error:
            _log.warning("log_not_trimmed", error=str(error))

    async def close(self) -> None:
        """Stop reading, publish what is queued, and disconnect."""
        for task in (self._opening, self._trimming, self._watching):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._lags.clear()
        await self._source.stop()
        await self._acks.stop()
        await self._log.close()
