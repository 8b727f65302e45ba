"""Notes when something of a box was last refused, and why: what a box's shown activity is made from.

Owns the row of each box. Must not judge refusals, nor keep what was refused.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from app.platform.db.database import RawConnection

NOTED_EVERY_S: Final = 10
"""A box's refusals, and when samples of it came by MQTT, are written every so many seconds."""

# In the order of the keys: two doors that note the same boxes wait for each other, and never in a circle.
_NOTE: Final = """
INSERT INTO box_refusals AS r (box_key, refused_at, code)
SELECT box_key, $1, code FROM unnest($2::integer[], $3::text[]) AS given (box_key, code) ORDER BY box_key
ON CONFLICT (box_key) DO UPDATE SET refused_at = excluded.refused_at, code = excluded.code
WHERE excluded.refused_at > r.refused_at + make_interval(secs => $4)
"""


async def record_box_refusals(connection: RawConnection, codes: Mapping[int, str], *, now: datetime) -> None:
    """Note the newest refusals of boxes, by their keys, in the caller's transaction."""
    if codes:
        await connection.execute(_NOTE, now, list(codes), list(codes.values()), NOTED_EVERY_S)
