"""Reads and writes organisations, sites and boxes of all tenants, for background processes.

Callers see all tenants. Nothing here checks a tenant scope: the API uses the repositories instead.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.platform.db.database import RawConnection
from app.registry.purpose_policy import PurposePolicy, SitePurposePolicies

_CHANGED_SITES: Final = (
    "SELECT id, retention_days, retention_purposes::text AS purposes, retention_removes AS removes, "
    "timezone, attributes::text AS attributes FROM sites WHERE revision > $1"
)
_CHANGED_BOXES: Final = (
    "SELECT key, id, organisation_id, site_id, ack, deleted_at IS NOT NULL AS deleted, "
    "coalesce((extract(epoch FROM shared_until) * 1000000)::bigint, 0) AS shared_until_us, "
    "interval_s, kind, tags, attributes::text AS attributes, "
    # A range that covers all earlier data has no lower bound.
    "CASE WHEN NOT isempty(erased) THEN ARRAY(SELECT ARRAY[coalesce((extract(epoch FROM lower(r)) * 1000000)"
    "::bigint, 0), (extract(epoch FROM upper(r)) * 1000000)::bigint] FROM unnest(erased) AS r) END AS erased "
    "FROM boxes WHERE revision > $1 ORDER BY key"
)
_CHANGED_PURPOSES: Final = (
    "SELECT site_id, purpose, (extract(epoch FROM starts_at) * 1000000)::bigint AS starts_us, "
    "(extract(epoch FROM ends_at) * 1000000)::bigint AS ends_us, approved_at IS NOT NULL AS approved "
    "FROM site_purposes WHERE revision > $1"
)
_PURPOSES: Final = (
    "SELECT site_id, purpose, (extract(epoch FROM starts_at) * 1000000)::bigint AS starts_us, "
    "(extract(epoch FROM ends_at) * 1000000)::bigint AS ends_us, approved_at IS NOT NULL AS approved "
    "FROM site_purposes WHERE site_id = ANY ($1::uuid[])"
)
_PLATFORM: Final = "SELECT id FROM organisations WHERE platform"
# `vigie deliver` may read these columns alone.
_SITE_NAMES: Final = "SELECT id, name, timezone FROM sites WHERE id = ANY ($1::uuid[])"
_SITES: Final = """
SELECT id, organisation_id, kind, timezone, latitude, attributes::text AS attributes
FROM sites WHERE id = ANY ($1::uuid[])
"""
_REMOVING_SITES: Final = """
SELECT id, timezone, retention_days, retention_purposes::text AS purposes, summaries_days FROM sites
WHERE retention_removes ORDER BY id
"""
_SITE_BOXES: Final = """
SELECT key, id, site_id, interval_s, kind, tags, attributes::text AS attributes
FROM boxes
WHERE site_id = ANY ($1::uuid[]) AND deleted_at IS NULL AND ($2::text[] IS NULL OR id = ANY ($2))
ORDER BY key
"""
PURGE_GRACE: Final = timedelta(minutes=1)
"""How long the row of a deleted box stays at least. A process whose copy of the registry is older than that
finds deletions with `find_purged_boxes`: no row shows them any more."""

# Much longer than a consumer needs. A box that continues to send by HTTP is shared again before the end.
_SHARED_FOR: Final = timedelta(days=1)
_BOX_IDS: Final = "SELECT key, id FROM boxes WHERE key = ANY ($1::int[])"
_DELETED_BOXES: Final = """
SELECT key FROM boxes b
WHERE deleted_at < now() - $2::interval AND NOT ($3 AND EXISTS (
    SELECT FROM box_configs c WHERE c.box_key = b.key
    AND c.desired_at IS NOT NULL AND (c.published_at IS NULL OR c.published_at < c.desired_at)
))
ORDER BY deleted_at LIMIT $1
"""
_PURGED_BOXES: Final = "SELECT unnest($1::int[]) EXCEPT SELECT key FROM boxes"
_INTERVALS: Final = "SELECT key, interval_s FROM boxes WHERE key = ANY ($1::int[])"
_ARRIVALS: Final = "SELECT key, came_at FROM boxes WHERE key = ANY ($1::int[]) AND came_at IS NOT NULL"
_DELETE_BOX: Final = "DELETE FROM boxes WHERE key = $1"
# An update that changes nothing still raises the registry's version.
_TOUCH_BOXES: Final = "UPDATE boxes SET erased = erased WHERE key = ANY ($1::int[])"
_STATUS_TIMES: Final = """
SELECT key, id, state_at FROM boxes
WHERE id = ANY ($1::text[]) AND deleted_at IS NULL AND state IS NOT NULL
"""
_RECONFIGURED: Final = """
SELECT b.id FROM boxes b JOIN box_configs c ON c.box_key = b.key
WHERE b.id = ANY ($1::text[]) AND b.deleted_at IS NULL AND c.reported_at > $2
"""
_UNSHARED: Final = """
SELECT key FROM boxes
WHERE id = ANY ($1::text[]) AND deleted_at IS NULL AND ($2::uuid[] IS NULL OR organisation_id = ANY ($2))
    AND (shared_until IS NULL OR shared_until < $3)
"""


async def load_changed_sites(connection: RawConnection, since_revision: int) -> list[asyncpg.Record]:
    """Read the sites whose revision is greater than `since_revision`."""
    return await connection.fetch(_CHANGED_SITES, since_revision)


async def load_changed_boxes(connection: RawConnection, since_revision: int) -> list[asyncpg.Record]:
    """Read the boxes whose revision is greater than `since_revision`; deleted ones for `PURGE_GRACE` only."""
    return await connection.fetch(_CHANGED_BOXES, since_revision)


async def find_purged_boxes(connection: RawConnection, keys: Collection[int]) -> list[int]:
    """Find the boxes among `keys` that have no row: they were deleted, and their samples were removed."""
    return [key for (key,) in await connection.fetch(_PURGED_BOXES, list(keys))]


async def load_changed_purposes(connection: RawConnection, since_revision: int) -> list[asyncpg.Record]:
    """Read the declared purposes whose revision is greater than `since_revision`."""
    return await connection.fetch(_CHANGED_PURPOSES, since_revision)


async def read_purpose_policies(
    connection: RawConnection, site_ids: Collection[UUID]
) -> dict[UUID, SitePurposePolicies]:
    """Read the purpose policies of sites; a site without a declared purpose is missing."""
    permits: dict[UUID, dict[str, PurposePolicy]] = {}
    for site_id, purpose, *policy in await connection.fetch(_PURPOSES, list(site_ids)):
        permits.setdefault(site_id, {})[purpose] = PurposePolicy(*policy)
    return {site_id: SitePurposePolicies(found) for site_id, found in permits.items()}


async def read_sampling_intervals(connection: RawConnection, keys: Collection[int]) -> dict[int, int]:
    """Read the sampling intervals of boxes (s), by key."""
    return {row["key"]: row["interval_s"] for row in await connection.fetch(_INTERVALS, list(keys))}


async def read_arrivals(connection: RawConnection, keys: Collection[int]) -> dict[int, datetime]:
    """Read when boxes came to their sites from another one, by key; those that never moved are missing."""
    return {row["key"]: row["came_at"] for row in await connection.fetch(_ARRIVALS, list(keys))}


async def find_platform_organisation(connection: RawConnection) -> UUID | None:
    """Return the platform's own organisation; None before the first start of the API."""
    found: UUID | None = await connection.fetchval(_PLATFORM)
    return found


async def read_site_names_and_zones(
    connection: RawConnection, site_ids: Collection[UUID]
) -> list[asyncpg.Record]:
    """Read names and time zones of sites."""
    return await connection.fetch(_SITE_NAMES, list(site_ids))


async def read_sites(connection: RawConnection, site_ids: Collection[UUID]) -> list[asyncpg.Record]:
    """Read organisation, kind, time zone, latitude and attributes (JSON text) of sites."""
    return await connection.fetch(_SITES, list(site_ids))


async def list_sites_with_retention(connection: RawConnection) -> list[asyncpg.Record]:
    """List the sites that remove expired data, with their retention settings."""
    return await connection.fetch(_REMOVING_SITES)


async def list_site_boxes(
    connection: RawConnection, site_ids: Collection[UUID], *, only: Sequence[str] | None = None
) -> list[asyncpg.Record]:
    """List the boxes of sites with their attributes (JSON text), in the order of their keys.

    Args:
        connection: to the database.
        site_ids: the sites.
        only: the ids of the boxes to list; None: all.
    """
    return await connection.fetch(_SITE_BOXES, list(site_ids), only)


async def read_box_ids(connection: RawConnection, keys: Collection[int]) -> dict[int, str]:
    """Read the ids of boxes by their keys, deleted boxes included."""
    return {row["key"]: row["id"] for row in await connection.fetch(_BOX_IDS, list(keys))}


async def list_deleted_boxes(
    connection: RawConnection, limit: int, *, only_unconfigured: bool = True
) -> list[int]:
    """List the keys of boxes that were deleted more than `PURGE_GRACE` ago, the oldest first.

    Args:
        connection: To the database.
        limit: The largest number of boxes.
        only_unconfigured: Leave out boxes whose configuration the broker may still have. Their rows are the
            only record of that, and another box may get the id.
    """
    found = await connection.fetch(_DELETED_BOXES, limit, PURGE_GRACE, only_unconfigured)
    return [key for (key,) in found]


async def delete_box_row(connection: RawConnection, key: int) -> None:
    """Delete the row of a deleted box, once its samples are removed."""
    await connection.execute(_DELETE_BOX, key)


async def touch_boxes(connection: RawConnection, keys: Sequence[int]) -> None:
    """Raise the revision of boxes, so that the consumer reloads their states."""
    await connection.execute(_TOUCH_BOXES, keys)


async def read_status_times(connection: RawConnection, box_ids: Sequence[str]) -> list[asyncpg.Record]:
    """Read key, id and `state_at` of the boxes that have reported a status."""
    return await connection.fetch(_STATUS_TIMES, box_ids)


async def find_reconfigured_boxes(
    connection: RawConnection, box_ids: Sequence[str], since: datetime
) -> frozenset[str]:
    """Find the boxes that have reported a configuration since a time."""
    rows = await connection.fetch(_RECONFIGURED, box_ids, since) if box_ids else []
    return frozenset(identifier for (identifier,) in rows)


async def list_unshared_boxes(
    connection: RawConnection, box_ids: Sequence[str], organisations: Sequence[UUID] | None, until: datetime
) -> list[int]:
    """List the keys of boxes that are not shared until a time.

    Args:
        connection: to the database.
        box_ids: the boxes.
        organisations: only boxes of these; None: all.
        until: the time.
    """
    return [key for (key,) in await connection.fetch(_UNSHARED, box_ids, organisations, until)]


async def share_boxes(connection: RawConnection, keys: Sequence[int], now: datetime) -> None:
    """Mark boxes as shared for a day, so that no consumer relies on its cached states of them."""
    await connection.execute("SELECT share_boxes($1, $2)", keys, now + _SHARED_FOR)
