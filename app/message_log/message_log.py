"""Defines the interface of the replicated log that stands between several brokers and several ingest workers.

`vigie edge` appends the messages of a broker, and acknowledges them to the broker once they are replicated.
`vigie ingest` reads each partition in order. How far it is, is a row of PostgreSQL (`positions`), written in
the transaction of a batch: the log itself does not know it.

Each engine is one module that implements `MessageLog`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

MOST_RECORD_BYTES: Final = 4 * 2**20
"""The largest record that any engine takes."""


class LogUnavailableError(Exception):
    """The log does not answer, or has no majority. Nothing is known of an append in progress: repeat it."""


class LogFullError(LogUnavailableError):
    """The log has no room. Repeat the append once something was trimmed."""


class RecordsRemovedError(Exception):
    """The log has removed records that the reader has not returned. Read after `oldest - 1` to go on.

    Attributes:
        after: The position of the last record that the reader returned.
        oldest: The position of the oldest record that is left, or that the next one will have.
    """

    def __init__(self, after: int, oldest: int) -> None:
        super().__init__(f"the records {after + 1} to {oldest - 1} were removed before they were read")
        self.after = after
        self.oldest = oldest


class StoredRecord(NamedTuple):
    """A record of a partition.

    Attributes:
        position: Its position: at least 1, and greater than that of each record before it in its partition.
        data: What was appended.
    """

    position: int
    data: bytes


class PartitionStatus(NamedTuple):
    """The status of a partition.

    Attributes:
        partition: Its number.
        leader: The node that leads it; None while it has none.
        replicas: The nodes that hold it, the leader included.
        in_sync: Those that are up to date.
        oldest: The position of its oldest record; 0 if it is empty.
        newest: The position of its newest record; 0 if it never had one.
        size: The bytes of the records that were not trimmed, as they count against `max_bytes`.
    """

    partition: int
    leader: str | None
    replicas: tuple[str, ...]
    in_sync: tuple[str, ...]
    oldest: int
    newest: int
    size: int


class LogDescription(NamedTuple):
    """The state of a log.

    Attributes:
        log_id: An id that changes if the log is recreated: earlier positions mean nothing then. None: not all
            of its parts answer.
        partitions: The status of each partition.
    """

    log_id: str | None
    partitions: Sequence[PartitionStatus]


class PartitionReader(Protocol):
    """Reads a partition from a position on. It reconnects by itself, and loses and repeats nothing."""

    async def fetch(self, *, max_bytes: int, max_wait_s: float) -> list[StoredRecord]:
        """Return the next records in order, as soon as there is one; an empty list after `max_wait_s`.

        Cancelling the wait loses nothing.

        Args:
            max_bytes: About how many bytes to return; at least one record.
            max_wait_s: The longest wait, in seconds.

        Raises:
            LogUnavailableError: The log does not answer. Call again.
            RecordsRemovedError: The next record was removed. This reader returns no more records.
        """

    async def close(self) -> None:
        """Stop reading."""


class MessageLog(Protocol):
    """A log of a fixed number of partitions, each with several replicas."""

    async def open(self) -> None:
        """Connect, and create missing streams or topics.

        Raises:
            LogUnavailableError: The log does not answer. Call again.
        """

    async def append(self, partition: int, data: bytes, *, record_id: str) -> int | None:
        """Append a record, and return once a majority of the replicas has it.

        Args:
            partition: The partition.
            data: The record: at least one byte, up to `max_record_bytes`.
            record_id: The same for a repeated append. An engine that can detect a repeat stores it once.

        Returns:
            The position of the record; None from an engine that does not say.

        Raises:
            LogUnavailableError: It is not known whether the record was appended.
            LogFullError: It was not appended.
        """

    def read(self, partition: int, after: int) -> PartitionReader:
        """Return a reader of the records after a position (0: from the oldest)."""

    async def find_newest_position(self, partition: int) -> int:
        """Return the position of the newest record; 0 if there never was one (LogUnavailableError)."""

    async def trim(self, partition: int, before: int) -> None:
        """Allow the engine to remove the records before a position (LogUnavailableError).

        An engine that can only remove by age or size does nothing.
        """

    async def describe(self) -> LogDescription:
        """Return the id of the log and the status of each partition (LogUnavailableError)."""

    async def close(self) -> None:
        """Disconnect. Readers end."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a node."""

    @property
    def max_record_bytes(self) -> int:
        """The largest record that the engine takes."""


def check_record_size(data: bytes, most_bytes: int) -> None:
    """Refuse a record that no engine could store, or that is empty.

    Raises:
        ValueError: It is one of these.
    """
    if not data:
        raise ValueError("a record has at least one byte")
    if len(data) > most_bytes:
        raise ValueError(f"a record of {len(data)} bytes is larger than {most_bytes}")
