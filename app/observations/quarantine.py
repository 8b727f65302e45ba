"""Writes what was refused: as it came, with its reason, so that it can be looked at and mended."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.core.database import RawConnection
from app.core.ids import new_id

# A refused payload is kept to find the fault; it is cut, or quarantine would be a way to fill disks.
KEPT_BYTES = 65_536
_DETAIL_CHARACTERS = 500


class Refused(NamedTuple):
    """One thing that was refused at a door.

    Attributes:
        organisation_id: whose box it is, where the box is known.
        box: the box's id, where it could be read.
        code: the stable reason code.
        detail: what is wrong and what to do.
        topic: the MQTT topic; None at the HTTP door.
        payload: what came.
    """

    organisation_id: UUID | None
    box: str | None
    code: str
    detail: str
    topic: str | None
    payload: bytes


def _clean(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


async def quarantine(
    connection: RawConnection, refused: Sequence[Refused], *, door: str, now: datetime
) -> None:
    """Store refused things in the caller's transaction."""
    if not refused:
        return
    await connection.copy_records_to_table(
        "quarantine",
        records=[
            (
                new_id(),
                now,
                entry.organisation_id,
                None if entry.box is None else _clean(entry.box),
                door,
                entry.code,
                _clean(entry.detail[:_DETAIL_CHARACTERS]),
                None if entry.topic is None else _clean(entry.topic),
                entry.payload[:KEPT_BYTES],
                len(entry.payload),
            )
            for entry in refused
        ],
        columns=[
            "id",
            "received_at",
            "organisation_id",
            "box",
            "door",
            "code",
            "detail",
            "topic",
            "payload",
            "payload_bytes",
        ],
    )
