"""Defines the interface of the replicated log that stands between several brokers and several ingest workers.

`vigie edge` appends what a broker has delivered, and acknowledges it to the broker once it is replicated.
`vigie ingest` reads each partition in order. How far it is, is a row of PostgreSQL (`positions`), written in
the transaction of a batch: the log itself is never told.

Each engine is one module that implements `MessageLog`.
"""

from typing import NamedTuple, Protocol


class LogUnavailableError(Exception):
    """The log does not answer, or has no majority. Nothing is known of an append in progress: repeat it."""


class LogFullError(LogUnavailableError):
    """The log has no room. Repeat the append once something was trimmed."""


class StoredRecord(NamedTuple):
    """A record of a partition.

    Attributes:
        position: Its position: at least 1, and greater than that of each record before it in its partition.
        data: What was appended.
    """

    position: int
    data: bytes


class PartitionStatus(NamedTuple):
    """What an engine knows of a partition.

    Attributes:
        partition: Its number.
        leader: The node that leads it; None while it has none.
        replicas: The nodes that hold it, the leader included.
        in_sync: Those that are up to date.
        oldest: The position of its oldest record; 0 if it is empty.
        newest: The position of its newest record; 0 if it never had one.
        size: Its size in bytes, of one replica.
    """

    partition: int
    leader: str | None
    replicas: tuple[str, ...]
    in_sync: tuple[str, ...]
    oldest: int
    newest: int
    size: int


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
        """

    async def close(self) -> None:
        """Stop reading."""


class MessageLog(Protocol):
    """A log of a fixed number of partitions, each with several replicas."""

    async def open(self) -> None:
        """Connect, and create what is missing.

        Raises:
            LogUnavailableError: The log does not answer. Call again.
        """

    async def append(self, partition: int, data: bytes, *, record_id: str) -> int | None:
        """Append a record, and return once a majority of the replicas has it.

        Args:
            partition: The partition.
            data: The record, up to `max_record_bytes`.
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

    async def describe(self) -> list[PartitionStatus]:
        """Return the status of each partition (LogUnavailableError)."""

    async def read_id(self) -> str:
        """Return an id that changes if the log is made anew, so that old positions mean nothing.

        Raises:
            LogUnavailableError: The log does not answer.
        """

    async def close(self) -> None:
        """Disconnect. Readers end."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a node."""

    @property
    def max_record_bytes(self) -> int:
        """The largest record that the engine takes."""
