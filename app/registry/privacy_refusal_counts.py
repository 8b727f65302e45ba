"""Counts, by day, data refused because it has no declared purpose or its content is forbidden.

It also records the last refusal of each box.

The refused content is never stored: the counts in `door_refusals` are all that remains. Each connection adds
to its own rows; past days are summed up later. `box_refusals` has a row for each box, from which its activity
is computed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Date, Text, Uuid, bindparam, text
from sqlalchemy.exc import SQLAlchemyError

from app.platform.db.commit_steps import suspend_commit_step
from app.platform.db.database import Database, RawConnection
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.registry.prometheus_metrics import DOOR_REFUSALS

_log = get_logger(__name__)


class RefusalCountKey(NamedTuple):
    """The key of a count of refusals.

    Attributes:
        organisation_id: The organisation of the box or the API key; None: unknown.
        site_id: The site of the box; None: unknown.
        code: One of `app.platform.kernel.rejection_codes.NEVER_STORED_CODES`.
        purpose: The name of the purpose in the catalogue; None: unknown.
    """

    organisation_id: UUID | None
    site_id: UUID | None
    code: str
    purpose: str | None


# Each connection has its own rows, so that ingest endpoints never wait for each other. The order prevents a
# deadlock if two connections share a backend's process id (it is reused after the backend has ended).
_ADD: Final = """
INSERT INTO door_refusals AS r (day, organisation_id, site_id, door, code, purpose, writer, refused)
SELECT $1, organisation_id, site_id, $2, code, purpose, pg_backend_pid(), refused
FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[])
    AS given (organisation_id, site_id, code, purpose, refused)
ORDER BY organisation_id, site_id, code, purpose
ON CONFLICT ON CONSTRAINT uq_door_refusals DO UPDATE SET refused = r.refused + excluded.refused
"""
# Only transactions that began before midnight still write to a past day. They insert a new row, which the
# next run sums up.
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


# Compared as texts: the parameter of a path need not be a UUID.
_FIND_SITE: Final = text(
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
        connection: The connection, in the transaction that stores the rest of the batch.
        counts: The numbers of refusals by key.
        door: The ingest endpoint: "mqtt", "http" or "rest".
        now: The time, which decides the day.
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
    """Count a refusal of the REST API in a separate transaction, since the refused one is rolled back.

    It counts for the site of the path if it is in the caller's tenant scope, else for the caller's
    organisation. It never raises: a refusal that cannot be counted is logged.

    Args:
        database: The database.
        code: The rejection code.
        principal: The caller; None: not authenticated.
        site: The site id in the path, unchecked.
        box: The box id in the path, unchecked.
        now: The time, which decides the day (UTC).
    """
    DOOR_REFUSALS.labels("rest", code).inc()
    owner, site_id = None if principal is None else principal.organisation_id, None
    try:
        with run_with_full_scope(), suspend_commit_step():
            async with database.write() as session:
                found = (await session.execute(_FIND_SITE, {"site": site, "box": box})).one_or_none()
                if found is not None and principal is not None and principal.visible().includes(*found):
                    owner, site_id = found
                row = {"day": now.date(), "owner": owner, "site": site_id, "code": code}
                await session.execute(_ADD_ONE, row)
    except (SQLAlchemyError, OSError, TimeoutError) as failure:
        _log.warning("refusal_not_counted", code=code, error=redact_error(failure))


async def fold_refusal_counts(connection: RawConnection, now: datetime) -> None:
    """Sum up the counts of past days to one row for each key."""
    await connection.execute(_FOLD, now.date())


NOTED_EVERY_S: Final = 10
"""The shortest interval (s) between two writes of a box's last refusal, or of its last arrival by MQTT."""

# In the order of keys, so that two ingest processes with the same boxes cannot deadlock.
_NOTE: Final = """
INSERT INTO box_refusals AS r (box_key, refused_at, code)
SELECT box_key, $1, code FROM unnest($2::integer[], $3::text[]) AS given (box_key, code) ORDER BY box_key
ON CONFLICT (box_key) DO UPDATE SET refused_at = excluded.refused_at, code = excluded.code
WHERE excluded.refused_at > r.refused_at + make_interval(secs => $4)
"""


async def record_box_refusals(connection: RawConnection, codes: Mapping[int, str], *, now: datetime) -> None:
    """Record the newest rejection codes by box key, in the caller's transaction."""
    if codes:
        await connection.execute(_NOTE, now, list(codes), list(codes.values()), NOTED_EVERY_S)
