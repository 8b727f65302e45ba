"""Limits the open streams of this process, of all kinds together, and ends them when it stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from app.platform.config.api_settings import ApiSettings
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError

STREAMS_PER_GRANT: Final = 5
"""The most open streams of a grant, so that a third party leaves streams to the organisation itself."""
_RETRY_AFTER_S: Final = 10


def _too_many(detail: str) -> TooManyRequestsError:
    return TooManyRequestsError(detail, code="too_many_streams", retry_after_s=_RETRY_AFTER_S)


class StreamSlot:
    """The slot of one stream, woken when its organisation has news, or when the stream must end.

    Args:
        topic: The kind of stream.
        organisation: The organisation whose data are streamed.
        tree: The caller's integrator, or its organisation if it has none.
        grant_id: The grant by which the caller reads; None: it is no third party.
    """

    def __init__(self, topic: str, organisation: UUID, tree: UUID, grant_id: UUID | None = None) -> None:
        self.topic = topic
        self.organisation = organisation
        self.tree = tree
        self.grant_id = grant_id
        self.woken = asyncio.Event()
        self.ended = False

    def end(self) -> None:
        """End the stream now."""
        self.ended = True
        self.woken.set()


class StreamSlots:
    """The slots of one process.

    Args:
        settings: The limits of streams.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self._slots: dict[UUID, set[StreamSlot]] = {}
        self._stopped = False

    @contextmanager
    def open(
        self, topic: str, organisation: UUID, tree: UUID, grant_id: UUID | None = None
    ) -> Iterator[StreamSlot]:
        """Open a slot for a stream, for the duration of a block.

        Args:
            topic: The kind of stream.
            organisation: The organisation whose data are streamed.
            tree: The caller's integrator, or its organisation if it has none.
            grant_id: The grant by which the caller reads; None: it is no third party.

        Raises:
            TooManyRequestsError: `too_many_streams`.
            UnavailableError: This process is stopping.
        """
        self._check_limits(organisation, tree)
        self._check_grant(organisation, grant_id)
        slot = StreamSlot(topic, organisation, tree, grant_id)
        self._slots.setdefault(organisation, set()).add(slot)
        try:
            yield slot
        finally:
            slots = self._slots[organisation]
            slots.discard(slot)
            if not slots:
                del self._slots[organisation]

    def _check_limits(self, organisation: UUID, tree: UUID) -> None:
        if self._stopped:
            raise UnavailableError("This server is stopping. Connect again.")
        most = self.settings.streams_per_organisation
        if len(self._slots.get(organisation, ())) >= most:
            raise _too_many(
                f"The organisation has {most} open streams, which is the limit. Close one of them."
            )
        open_, most = self.list_all(), most * self.settings.integrator_factor
        # An integrator's key can open streams of all its clients.
        if sum(slot.tree == tree for slot in open_) >= most:
            raise _too_many(
                f"An integrator and its clients may open at most {most} streams, and so may the platform's "
                "administrators. Close one of them."
            )
        if len(open_) >= self.settings.streams_max:
            raise _too_many("This server has reached its limit of open streams. Retry later.")

    def _check_grant(self, organisation: UUID, grant_id: UUID | None) -> None:
        if grant_id is None:
            return
        open_ = sum(slot.grant_id == grant_id for slot in self._slots.get(organisation, ()))
        if open_ >= STREAMS_PER_GRANT:
            raise _too_many(
                f"The grant has {STREAMS_PER_GRANT} open streams, which is the limit. Close one of them."
            )

    def list_all(self, topic: str | None = None) -> list[StreamSlot]:
        """List the open slots of a kind; None: of all."""
        every = (slot for slots in self._slots.values() for slot in slots)
        return [slot for slot in every if topic is None or slot.topic == topic]

    def list_of(self, topic: str, organisation: UUID) -> list[StreamSlot]:
        """List the open slots of a kind of one organisation."""
        return [slot for slot in self._slots.get(organisation, ()) if slot.topic == topic]

    def stop(self) -> None:
        """End all streams, and refuse new ones."""
        self._stopped = True
        for slot in self.list_all():
            slot.end()
