"""Counts what the doors refuse for its purpose or its content, by day: all that is ever known of it.

Owns how counts are added and folded. Must not know what was refused, nor why it was.

Notes when something of a box was last refused, and why: what a box's shown activity is made from.

Owns the row of each box. Must not judge refusals, nor keep what was refused.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Date, Text, Uuid, bindparam, text
from sqlalchemy.exc import SQLAlchemyError

from app.platform.db.database import Database, RawConnection, suspend_commit_step
from app.platform.identity.principals import Principal
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import DOOR_REFUSALS, get_logger, redact_error

_log = get_logger(__name__)


class RefusalCountKey(NamedTuple):
    """What is counted together.

    Attributes:
        organisation_id: whose box it was, or whose key; None where neither is known.
        site_id: where the box stands, where that is known.
        code: one of `app.platform.kernel.rejection_codes.NEVER_STORED_CODES`.
        purpose: by the catalogue's name, where it is known.
    """

    organisation_id: UUID | None
    site_id: UUID | None
    code: str
    purpose: str | None


# Each connection has rows of its own: doors never wait for each other. In one order, should two share a
# number of a process (one that ended, and was begun anew).
_ADD: Final = """
INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT $1, organisation_id, site_id, $2, code, purpose, pg_backend_pid(), refused
FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[])
    AS given (organisation_id, site_id, code, purpose, refused)
ORDER BY organisation_id, site_id, code, purpose
ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + excluded.refused
"""
# Nobody writes to a past day any more but who began before midnight; that one finds its row gone, and makes
# another, which the next turn folds.
_FOLD: Final = """
WITH past AS (
    DELETE FROM door_refusals WHERE day < $1 AND writer <> 0
    RETURNING day, organisation_id, site_id, door, code, purpose, refused
)
INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT day, organisation_id, site_id, door, code, purpose, 0, sum(refused) FROM past
GROUP BY day, organisation_id, site_id, door, code, purpose
ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + excluded.refused
"""


# Texts are compared: what a path names need be no id at all.
_PLACE: Final = text(
    """
    SELECT s.organisation_id, s.id FROM sites s
    WHERE s.id::text = :site
        OR s.id = (SELECT b.site_id FROM boxes b WHERE b.id = :box AND b.deleted_at IS NULL)
    LIMIT 1
    """
).bindparams(bindparam("site", type_=Text), bindparam("box", type_=Text))
_ADD_ONE: Final = text(
    """
    INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, writer, refused)
    VALUES (:day, :owner, :site, 'rest', :code, pg_backend_pid(), 1)
    ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + 1
    """
).bindparams(
    bindparam("day", type_=Date),
    bindparam("owner", type_=Uuid),
    bindparam("site", type_=Uuid),
    bindparam("code", type_=Text),
)


async def add_refusal_counts(
    connection: RawConnection, counts: Mapping[RefusalCountKey, int], *, door: str, now: datetime
) -> None:
    """Add to the counts of the day (UTC).

    Args:
        connection: in the transaction of what was taken of the same batch.
        counts: how many of each.
        door: "mqtt", "http" or "rest".
        now: says which day it is.
    """
    if counts:
        columns = map(list, zip(*counts, strict=True))
        await connection.execute(_ADD, now.date(), door, *columns, list(counts.values()))


async def count_rest_refusal(
    database: Database,
    code: str,
    principal: Principal | None,
    *,
    site: str | None,
    box: str | None,
    now: datetime,
) -> None:
    """Count what REST has refused, in a transaction of its own: the one that was refused is rolled back.

    Under the site that the path names, where the caller may see it; else under the caller's organisation.
    Never fails: what was refused stays refused.
    """
    DOOR_REFUSALS.labels("rest", code).inc()
    owner, place = None if principal is None else principal.organisation_id, None
    try:
        with run_with_full_scope(), suspend_commit_step():
            async with database.write() as session:
                found = (await session.execute(_PLACE, {"site": site, "box": box})).one_or_none()
                if found is not None and principal is not None and principal.visible().includes(*found):
                    owner, place = found
                row = {"day": now.date(), "owner": owner, "site": place, "code": code}
                await session.execute(_ADD_ONE, row)
    except (SQLAlchemyError, OSError, TimeoutError) as failure:
        _log.warning("refusal_not_counted", code=code, error=redact_error(failure))


async def fold_refusal_counts(connection: RawConnection, now: datetime) -> None:
    """Sum up the days that are over: a row for each thing that is counted, whoever wrote it."""
    await connection.execute(_FOLD, now.date())


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
