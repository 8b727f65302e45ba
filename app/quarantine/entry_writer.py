"""Writes what was refused, with its reason, so that it can be looked at, mended and replayed.

Owns how entries come and how they go for their age. Must not judge them: that is the codec's and the
pipeline's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id

# A refused payload is kept to find the fault; it is cut, or quarantine would be a way to fill disks.
MAX_PAYLOAD_BYTES = 65_536
_DETAIL_CHARACTERS = 500
# Several short transactions: none of them holds back a replay, or what is written meanwhile.
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
    """One thing that was refused at a door.

    Attributes:
        organisation_id: whose box it is, where the box is known.
        box: the box's id, where it could be read.
        code: the stable reason code.
        detail: what is wrong and what to do.
        topic: the MQTT topic; None at the HTTP door.
        payload: what came; empty where it may not be kept.
        size: how many bytes it was, where that is not what `payload` has.
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
    """Within the block nothing new is written: what is replayed is in quarantine already."""
    token = _replaying.set(True)
    try:
        yield
    finally:
        _replaying.reset(token)


def is_replaying() -> bool:
    """Tell whether what is under way was refused before."""
    return _replaying.get()


def sanitise_text(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def truncate_detail(detail: str) -> str:
    """A detail as it is kept."""
    return sanitise_text(detail[:_DETAIL_CHARACTERS])


async def write_quarantine_entries(
    connection: RawConnection, rejections: Sequence[RejectedInput], *, door: str, now: datetime
) -> None:
    """Store refused things in the caller's transaction."""
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
    """Remove what came in more than so many days ago; gives how many entries went.

    A hundred thousand at most, so that whoever calls has its turn again soon. Entries that are being replayed
    are left for the next time.

    Args:
        connection: outside of any transaction.
        keep_days: 0 keeps everything.
    """
    removed = 0
    for _ in range(_PURGE_SLICES if keep_days else 0):
        tag = await connection.execute(_PURGE, timedelta(days=keep_days), _PURGE_SLICE)
        slice_removed = int(tag.rpartition(" ")[2])
        removed += slice_removed
        if slice_removed < _PURGE_SLICE:
            break
    return removed
