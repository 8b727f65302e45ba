"""Defines what differs between a consumer that reads one broker and one that reads the replicated log."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from app.ingest.pipeline.batch_context import Finish
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.sources.message_source import MessageBatch, MessageSource
from app.message_log.partitions import OwnedPartitions
from app.platform.db.database import RawConnection


class ConsumerInput(Protocol):
    """The input of a consumer, for one connection to the database."""

    @property
    def waiting_for(self) -> str | None:
        """The reason of a wait, for the state of the process; None: it reads, or has nothing to read."""

    async def join(self, connection: RawConnection) -> bool:
        """Become a consumer, until the connection ends. False while another one works: try again.

        Raises:
            LogSettingsError: The settings name another message log than the one in use, or none.
        """

    async def open(self) -> MessageSource:
        """Start the source of messages. A source that cannot connect yet is no error."""

    @property
    def owned(self) -> OwnedPartitions | None:
        """The partitions whose boxes this consumer alone writes; None: all boxes."""

    async def tend(self, connection: RawConnection, pipeline: IngestPipeline, /) -> None:
        """Do what is due between batches; called every second at least."""

    def finish(self, batch: MessageBatch, /) -> Finish | None:
        """Return what the last transaction of a batch does at its end."""

    def may_have_more(self, batch: MessageBatch, /) -> bool:
        """Whether the source may have more messages than the last batch, so that timers have to wait."""

    async def find_timer_time(self, connection: RawConnection, /) -> datetime | None:
        """Return the time at which timers are to be looked at: all messages until then are stored.

        Returns:
            None while there is no such time, or none since the last call.
        """

    def publish_acks(self, acks: Mapping[str, BoxAck]) -> None:
        """Publish acknowledgements to boxes, in the background."""

    async def close(self) -> None:
        """Stop the source and what publishes acknowledgements."""
