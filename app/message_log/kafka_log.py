"""Keeps the replicated log in Kafka: one topic, whose partitions are those of the log.

It is for cities that operate Kafka already. Its tests run on librdkafka's mock of a cluster. They check
appends, reads and positions. They say nothing of a real broker: its durability and elections, the making of
the topic, trimming, retention, the topic's id, accounts and TLS are not tested.

The producer is idempotent, so that its own repeats are stored once. An append that is repeated after
`LogUnavailableError` may be stored twice. A topic cannot refuse records. So its brokers never remove any by
themselves, positions measure bytes (`record_units`), and the engine refuses when the records that were not
trimmed may have `max_bytes`. `trim` deletes records.

The messages of a record are not stored as a whole. If an edge dies during an append, empty ones may remain at
the end of a partition: it seems to have a record that waits, until its next record is appended.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.message_log.buffered_reader import BufferedReader
from app.message_log.kafka_reader import KafkaReader
from app.message_log.message_log import (
    MOST_RECORD_BYTES,
    LogDescription,
    LogFullError,
    LogUnavailableError,
    PartitionReader,
    PartitionStatus,
    check_record_size,
)
from app.message_log.record_units import UNIT_BYTES, count_units, measure_bytes
from app.message_log.settings import MessageLogSettings

_OVERHEAD_BYTES: Final = 65_536
_POLL_S: Final = 0.2
_MEASURE_S: Final = 10.0
_FULL_S: Final = 1.0
# A majority of two or three replicas has a record before it is acknowledged.
_LEAST_REPLICAS: Final = 2


class KafkaLog:
    """A log in Kafka (`MessageLog`).

    Args:
        settings: The log's servers, account, name, partitions, replicas and limits.
        client: The name under which the brokers list the connections.
        extra: Further settings of librdkafka, for its mock of a cluster.
    """

    def __init__(
        self, settings: MessageLogSettings, *, client: str = "vigie", extra: dict[str, Any] | None = None
    ) -> None:
        self._settings = settings
        self._common: dict[str, Any] = {
            "bootstrap.servers": ",".join(settings.servers),
            "client.id": client,
            "socket.timeout.ms": int(settings.timeout_s * 1000),
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,
            **_describe_login(settings),
            **(extra or {}),
        }
        self._threads = ThreadPoolExecutor(settings.partitions + 4, thread_name_prefix="kafka")
        self._producer: Producer | None = None
        self._admin: AdminClient | None = None
        self._watermarks: Consumer | None = None
        self._polling: asyncio.Task[None] | None = None
        self._readers: set[BufferedReader] = set()
        self._answered = False
        self._needed_bytes: dict[int, int] = {}
        self._measured: dict[int, float] = {}

    @property
    def connected(self) -> bool:
        """Whether the last question to the brokers was answered."""
        return self._answered

    @property
    def max_record_bytes(self) -> int:
        """The largest record: 4 MiB, for which the topic is configured."""
        return MOST_RECORD_BYTES

    async def open(self) -> None:
        """Connect, and create the topic if it is missing.

        Raises:
            LogUnavailableError: No broker answers, or the topic cannot be made. Call again.
        """
        if self._producer is None:
            with _translate_errors():
                self._start_clients()
        await self._make_topic()

    def _start_clients(self) -> None:
        """Start librdkafka's clients; all of them or none (KafkaException)."""
        admin = AdminClient(self._common)
        watermarks = Consumer({**self._common, "group.id": "vigie", "enable.auto.commit": False})
        producer = Producer(
            {
                **self._common,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": MOST_RECORD_BYTES + _OVERHEAD_BYTES,
                "message.timeout.ms": int(self._settings.timeout_s * 1000),
            }
        )
        self._producer, self._admin, self._watermarks = producer, admin, watermarks
        self._polling = asyncio.create_task(self._poll(producer))

    async def _make_topic(self) -> None:
        settings = self._settings
        admin = self._require(self._admin)
        topic = NewTopic(
            settings.name,
            num_partitions=settings.partitions,
            replication_factor=settings.replicas,
            config={
                "cleanup.policy": "delete",
                "retention.ms": "-1",
                "retention.bytes": "-1",
                "max.message.bytes": str(MOST_RECORD_BYTES + _OVERHEAD_BYTES),
                "min.insync.replicas": str(min(_LEAST_REPLICAS, settings.replicas)),
                "unclean.leader.election.enable": "false",
            },
        )
        made = admin.create_topics([topic], request_timeout=settings.timeout_s)[settings.name]
        try:
            await self._ask(made.result)
        except LogUnavailableError as error:
            cause = error.__cause__
            code = cause.args[0].code() if isinstance(cause, KafkaException) else None
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    async def _poll(self, producer: Producer) -> None:
        """Let the producer report deliveries, until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._threads, producer.poll, _POLL_S)

    async def _ask[T](self, call: Callable[[], T]) -> T:
        """Run a blocking call in a thread, and turn its errors into those of the log."""
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (KafkaException, RuntimeError) as error:
            self._answered = False
            raise LogUnavailableError(f"the log does not answer: {error}") from error
        self._answered = True
        return answer

    @staticmethod
    def _require[T](part: T | None) -> T:
        if part is None:
            raise LogUnavailableError("the log is not open")
        return part

    async def append(self, partition: int, data: bytes, *, record_id: str) -> int | None:
        """Append a record, and return its position once the replicas in sync have it.

        Raises:
            LogUnavailableError: It is not known whether the record was appended.
            LogFullError: It was not appended.
            ValueError: It is empty, or larger than `max_record_bytes`.
        """
        check_record_size(data, MOST_RECORD_BYTES)
        producer = self._require(self._producer)
        await self._require_room(partition)
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[int] = loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(_settle, delivered, error, message.offset())

        units = count_units(len(data))
        try:
            for _ in range(units - 1):
                producer.produce(self._settings.name, value=b"", partition=partition)
            producer.produce(
                self._settings.name,
                value=data,
                partition=partition,
                on_delivery=report,
                headers=[("record-id", record_id.encode())],
            )
            # Longer than the producer's own limit, after which it reports a failure.
            async with asyncio.timeout(2 * self._settings.timeout_s):
                offset = await delivered
        except (BufferError, KafkaException, TimeoutError) as error:
            self._answered = False
            raise LogUnavailableError(f"the log does not answer: {error!r}") from error
        self._answered = True
        self._needed_bytes[partition] = self._needed_bytes.get(partition, 0) + UNIT_BYTES * units
        return offset + 1

    async def _require_room(self, partition: int) -> None:
        """Refuse if the records of the partition may have `max_bytes`."""
        limit = self._settings.max_bytes
        is_full = self._needed_bytes.get(partition, 0) >= limit
        since = time.monotonic() - self._measured.get(partition, -_MEASURE_S)
        if since >= (_FULL_S if is_full else _MEASURE_S):
            low, high = await self._read_watermarks(partition)
            self._needed_bytes[partition] = measure_bytes(low + 1, high)
            self._measured[partition] = time.monotonic()
        if self._needed_bytes.get(partition, 0) >= limit:
            raise LogFullError(f"partition {partition} has {self._needed_bytes[partition]} bytes")

    async def _read_watermarks(self, partition: int) -> tuple[int, int]:
        """Return the offsets of the oldest record and after the newest."""
        watermarks = self._require(self._watermarks)
        place = TopicPartition(self._settings.name, partition)
        found = await self._ask(
            partial(watermarks.get_watermark_offsets, place, timeout=self._settings.timeout_s)
        )
        if found is None:
            raise LogUnavailableError(f"partition {partition} does not answer")
        return found

    def read(self, partition: int, after: int) -> PartitionReader:
        """Return a reader of the records after a position (LogUnavailableError)."""
        self._require(self._producer)
        with _translate_errors():
            reader = KafkaReader(
                self._common,
                self._settings.name,
                partition,
                after,
                most_record_bytes=MOST_RECORD_BYTES + _OVERHEAD_BYTES,
                on_close=self._readers.discard,
            )
        self._readers.add(reader)
        return reader

    async def find_newest_position(self, partition: int) -> int:
        """Return the position of the newest record; 0 if there never was one (LogUnavailableError)."""
        return (await self._read_watermarks(partition))[1]

    async def trim(self, partition: int, before: int) -> None:
        """Delete the records before a position (LogUnavailableError)."""
        admin = self._require(self._admin)
        place = TopicPartition(self._settings.name, partition, before - 1)
        for deleted in admin.delete_records([place], request_timeout=self._settings.timeout_s).values():
            await self._ask(deleted.result)

    async def describe(self) -> LogDescription:
        """Return the id of the topic, and the status of each partition.

        Raises:
            LogUnavailableError: No broker answers.
        """
        admin = self._require(self._admin)
        metadata = await self._ask(
            partial(admin.list_topics, self._settings.name, timeout=self._settings.timeout_s)
        )
        names = {broker.id: f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()}
        statuses = []
        for number, partition in sorted(metadata.topics[self._settings.name].partitions.items()):
            low = high = 0
            if partition.leader in names:
                low, high = await self._read_watermarks(number)
            statuses.append(
                PartitionStatus(
                    partition=number,
                    leader=names.get(partition.leader),
                    replicas=tuple(names.get(each, str(each)) for each in partition.replicas),
                    in_sync=tuple(names.get(each, str(each)) for each in partition.isrs),
                    oldest=low + 1 if high > low else 0,
                    newest=high,
                    size=measure_bytes(low + 1, high),
                )
            )
        log_id = None
        with suppress(LogUnavailableError):
            log_id = await self._read_id()
        return LogDescription(log_id, statuses)

    async def _read_id(self) -> str:
        """Return the id of the topic (LogUnavailableError)."""
        admin = self._require(self._admin)
        topics = TopicCollection([self._settings.name])
        described = admin.describe_topics(topics, request_timeout=self._settings.timeout_s)
        return str((await self._ask(described[self._settings.name].result)).topic_id)

    async def close(self) -> None:
        """Disconnect. Readers end."""
        for reader in list(self._readers):
            await reader.close()
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        if self._watermarks is not None:
            await asyncio.to_thread(self._watermarks.close)
        self._producer = self._admin = self._watermarks = None
        self._threads.shutdown(wait=False)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn an error of librdkafka's start, for example of a missing CA file, into one of the log."""
    try:
        yield
    except KafkaException as error:
        raise LogUnavailableError(f"the client of the log does not start: {error}") from error


def _settle(delivered: asyncio.Future[int], error: KafkaError | None, offset: int | None) -> None:
    if delivered.done():
        return
    if error is not None:
        delivered.set_exception(KafkaException(error))
    else:
        delivered.set_result(offset or 0)


def _describe_login(settings: MessageLogSettings) -> dict[str, Any]:
    """Return librdkafka's settings of the account and of TLS."""
    found: dict[str, Any] = {}
    if settings.username:
        found |= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": settings.username,
            "sasl.password": settings.password.get_secret_value(),
        }
    protocol = ("SASL_" if settings.username else "") + ("SSL" if settings.tls else "PLAINTEXT")
    if settings.ca_file:
        found["ssl.ca.location"] = settings.ca_file
    return {"security.protocol": protocol, **found}
