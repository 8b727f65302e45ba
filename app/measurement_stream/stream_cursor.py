"""Encodes the offset of a reader of an organisation's measurements as an opaque token. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from app.measurement_stream.items import Item, StreamPosition
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import US_PER_S, from_datetime

_KIND: Final = "measurements"
# Rows that are about to be pruned may be deleted before they are read.
_MARGIN_S: Final = 60
_HIGHEST_INDEX: Final = 2**31 - 1


class MeasurementCursor(NamedTuple):
    """A reader's offset: a position and a time.

    No commit with a higher position got it before `at_s`. The time shows whether commits after it may have
    been pruned; the position cannot, because positions have gaps.

    Attributes:
        offset: everything up to here has been read.
        at_s: seconds since the epoch.
    """

    offset: StreamPosition
    at_s: int

    @classmethod
    def of(cls, item: Item) -> "MeasurementCursor":
        """Return the offset after an item."""
        return cls(StreamPosition(item.position, item.index), item.positioned_us // US_PER_S)

    def token(self, organisation: UUID) -> str:
        """Encode the token with which the reader resumes from here."""
        return encode_cursor(_KIND, organisation.hex, self.offset.position, self.offset.index, self.at_s)

    @classmethod
    def read(
        cls, token: str, organisation: UUID, *, last_assigned: int, now: datetime
    ) -> "MeasurementCursor":
        """Decode a token.

        Args:
            token: the reader's.
            organisation: whose measurements are read.
            last_assigned: the highest position that this database has assigned.
            now: the database's time.

        Raises:
            InvalidError: `invalid_cursor`: not a token of this organisation's stream, or one in the future.
        """
        refused = InvalidError(
            "The id does not belong to an item of this stream. Connect without it to begin now, or with "
            "`start=oldest` to begin with the oldest stored item.",
            code="invalid_cursor",
        )
        try:
            owner, position, index, at_s = decode_cursor(_KIND, token, UUID, _whole, _whole, _whole)
        except (InvalidError, ValueError):
            raise refused from None
        # A forged token would hide that items are missing. Positions never exceed the clock (µs): those from
        # before a restore are valid, though the restored database has assigned only lower ones yet.
        highest = max(last_assigned, from_datetime(now))
        if (
            owner != organisation
            or not 0 <= position <= highest
            or not -1 <= index <= _HIGHEST_INDEX
            or not 0 <= at_s <= now.timestamp() + _MARGIN_S
        ):
            raise refused
        return cls(StreamPosition(position, index), at_s)

    def is_retained(self, now: datetime, keep_days: int) -> bool:
        """Check whether all commits after it are still stored."""
        oldest = now - timedelta(days=keep_days) + timedelta(seconds=_MARGIN_S)
        return datetime.fromtimestamp(self.at_s, UTC) >= oldest


def _whole(value: object) -> int:
    """Check that a part of a token is an integer (TypeError): `int` would convert 7.9, "7" and true."""
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value
