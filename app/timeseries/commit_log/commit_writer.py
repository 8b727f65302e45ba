"""Appends rows to the log of committed measurements, in the transaction that stores the measurements.

A row has identities only. Values are read when the stream is sent, so data that were erased meanwhile are
not in it. Packed arrays cost ingest a few operations of numpy per batch, where lists would cost an object
per sample.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.platform.db.database import RawConnection
from app.platform.kernel.instants import from_datetime
from app.timeseries.commit_log.packed_identities import pack_keys, pack_times
from app.timeseries.storage.event_writer import StoredEvent

_APPEND: Final = """
INSERT INTO measurement_commits (organisation_id, kind, items, box_keys, times_us, event_ids, details)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb)
"""
_OWNERS: Final = "SELECT key, organisation_id FROM registry_boxes WHERE key = ANY ($1::int[])"


class CommitEntry(NamedTuple):
    """The measurements of one kind that one transaction stored for one organisation.

    Attributes:
        organisation_id: the organisation.
        kind: of the items.
        keys: the box of each item.
        times_us: the time of each item (µs since the epoch): of an hour its begin.
        event_ids: the ids of events, in parallel.
        details: of a correction, as JSON.
    """

    organisation_id: UUID
    kind: Literal["samples", "events", "corrections", "hours"]
    keys: NDArray[np.int32]
    times_us: NDArray[np.int64]
    event_ids: Sequence[UUID] | None = None
    details: str | None = None


def split_by_organisation(
    organisations: Sequence[UUID], counts: NDArray[np.int64], order: NDArray[np.intp]
) -> Iterator[tuple[UUID, NDArray[np.intp]]]:
    """Split a batch by organisation; yields the indexes of each one's samples, box by box.

    Args:
        organisations: the organisation of each box.
        counts: how many samples each box has.
        order: indexes of the samples, box by box.
    """
    owners = list(dict.fromkeys(organisations))
    if len(owners) == 1:
        yield owners[0], order
        return
    numbers = {owner: number for number, owner in enumerate(owners)}
    codes = np.repeat([numbers[owner] for owner in organisations], counts)
    for owner, number in numbers.items():
        yield owner, order[codes == number]


def build_event_entries(
    organisations: Sequence[UUID], keys: Sequence[int], times_us: Sequence[int], stored: Sequence[StoredEvent]
) -> Iterator[CommitEntry]:
    """Build the entries of stored events.

    Args:
        organisations: of each given event.
        keys: the box of each given event.
        times_us: the time of each given event.
        stored: those that were stored.
    """
    for owner in dict.fromkeys(organisations[event.place] for event in stored):
        own = [event for event in stored if organisations[event.place] == owner]
        yield CommitEntry(
            owner,
            "events",
            np.array([keys[event.place] for event in own], np.int32),
            np.array([times_us[event.place] for event in own], np.int64),
            [event.id for event in own],
        )


async def append_commits(connection: RawConnection, entries: Sequence[CommitEntry]) -> None:
    """Append entries in the caller's transaction."""
    rows = [
        (
            entry.organisation_id,
            entry.kind,
            len(entry.keys),
            pack_keys(entry.keys),
            pack_times(entry.times_us),
            entry.event_ids,
            entry.details,
        )
        for entry in entries
        if len(entry.keys)
    ]
    if len(rows) == 1:
        await connection.execute(_APPEND, *rows[0])
    elif rows:
        await connection.executemany(_APPEND, rows)


async def append_hour_commits(
    connection: RawConnection, keys: Sequence[int], hours: Sequence[datetime]
) -> None:
    """Append hours whose roll-ups were written, in the caller's transaction.

    Args:
        connection: in that transaction.
        keys: boxes.
        hours: their begins, in parallel.
    """
    rows = await connection.fetch(_OWNERS, list(set(keys)))
    owners: dict[int, UUID] = {row["key"]: row["organisation_id"] for row in rows}
    by_owner: defaultdict[UUID, list[tuple[int, int]]] = defaultdict(list)
    for key, hour in zip(keys, hours, strict=True):
        if key in owners:
            by_owner[owners[key]].append((key, from_datetime(hour)))
    entries = []
    for owner, pairs in by_owner.items():
        own_keys, times_us = zip(*pairs, strict=True)
        entries.append(
            CommitEntry(owner, "hours", np.array(own_keys, np.int32), np.array(times_us, np.int64))
        )
    await append_commits(connection, entries)


async def append_correction_commit(
    connection: RawConnection, organisation_id: UUID, box_key: int, time_us: int, details: dict[str, Any]
) -> None:
    """Append a change of a correction in the caller's transaction.

    Args:
        connection: in that transaction.
        organisation_id: of the box.
        box_key: the box.
        time_us: the begin of the correction's validity (µs since the epoch).
        details: the correction, and what happened to it.
    """
    entry = CommitEntry(
        organisation_id,
        "corrections",
        np.array([box_key], np.int32),
        np.array([time_us], np.int64),
        details=msgspec.json.encode(details).decode(),
    )
    await append_commits(connection, [entry])
