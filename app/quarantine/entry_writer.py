"""Writes refused input to the quarantine with its rejection code, and purges old entries.

The codec and the pipeline decide what is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection, parse_row_count
from app.platform.kernel.ids import new_id

# A refused payload is stored to find its fault. It is truncated, so that bad input cannot fill the disk.
MAX_PAYLOAD_BYTES = 65_536
_DETAIL_CHARACTERS = 500
# The purge runs in several short transactions, which block neither replays nor new entries.
_PURGE_SLICE: Final = 5_000
_PURGE_SLICES: Final = 20
# COPY refuses a table with row-level security.
_STORE: Final = """
INSERT INTO quarantine
    (received_at, door, id, organisation_id, box, code, detail, topic, payload, payload_bytes)
SELECT $1, $2, *
FROM unnest(
    $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::integer[]
)
"""
_PURGE: Final = """
DELETE FROM quarantine WHERE id = ANY (ARRAY(
    SELECT id FROM quarantine WHERE received_at < now() - $1::interval
    ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""
_replaying: ContextVar[bool] = ContextVar("replaying", default=False)


class RejectedInput(NamedTuple):
    """One refused input.

    Attributes:
        organisation_id: the organisation of the box; None if the box is not known.
        box: the box's id; None if it could not be read.
        code: the stable rejection code.
        detail: the fault and its remedy.
        topic: the MQTT topic; None for HTTP.
        payload: the received bytes; empty if they may not be stored.
        size: the received size in bytes, if it is not the length of `payload`.
    """

    organisation_id: UUID | None
    box: str | None
    code: str
    detail: str
    topic: str | None
    payload: bytes
    size: int | None = None


@contextmanager
def suppress_quarantine_writes() -> Iterator[None]:
    """Write no new entries within the block: a replayed message is in quarantine already."""
    token = _replaying.set(True)
    try:
        yield
    finally:
        _replaying.reset(token)


def is_replaying() -> bool:
    """Return whether the current task replays a quarantined message."""
    return _replaying.get()


def sanitise_text(text: str) -> str:
    """Replace NUL and lone surrogates, which PostgreSQL's `text` cannot store."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def truncate_detail(detail: str) -> str:
    """Shorten and sanitise a detail for storage."""
    return sanitise_text(detail[:_DETAIL_CHARACTERS])


async def write_quarantine_entries(
    connection: RawConnection, rejections: Sequence[RejectedInput], *, door: str, now: datetime
) -> None:
    """Store refused input in the caller's transaction. Does nothing during a replay.

    Args:
        connection: in the transaction of the batch.
        rejections: the refused input.
        door: "mqtt" or "http".
        now: the time of arrival.
    """
    if not rejections or is_replaying():
        return
    rows = [
        (
            new_id(),
            entry.organisation_id,
            None if entry.box is None else sanitise_text(entry.box),
            entry.code,
            truncate_detail(entry.detail),
            None if entry.topic is None else sanitise_text(entry.topic),
            entry.payload[:MAX_PAYLOAD_BYTES],
            len(entry.payload) if entry.size is None else entry.size,
        )
        for entry in rejections
    ]
    await connection.execute(_STORE, now, door, *map(list, zip(*rows, strict=True)))


async def purge_quarantine(connection: RawConnection, *, keep_days: int) -> int:
    """Delete entries that arrived more than `keep_days` ago; returns the number of deleted entries.

    One call deletes 100,000 entries at most. Entries that are being replayed are locked, and left for the
    next call.

    Args:
        connection: outside of any transaction.
        keep_days: 0 keeps everything.
    """
    removed = 0
    for _ in range(_PURGE_SLICES if keep_days else 0):
        tag = await connection.execute(_PURGE, timedelta(days=keep_days), _PURGE_SLICE)
        slice_removed = parse_row_count(tag)
        removed += slice_removed
        if slice_removed < _PURGE_SLICE:
            break
    return removed
