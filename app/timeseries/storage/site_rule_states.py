"""Reads, locks and writes the states of rules that apply to whole sites.

They are not cached: several processes may write boxes of one site.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.message_log.partitions import OwnedPartitions
from app.platform.db.database import RawConnection

_decode = msgspec.json.Decoder(dict[str, list[Any]]).decode
_encode = msgspec.json.Encoder().encode

_MAKE: Final = """
INSERT INTO site_states (site_id)
SELECT s.id FROM unnest($1::uuid[]) AS given (id) JOIN registry_sites s USING (id)
ORDER BY s.id
ON CONFLICT DO NOTHING
"""
_LOCK: Final = """
SELECT site_id, rules FROM site_states WHERE site_id = ANY ($1::uuid[]) ORDER BY site_id FOR UPDATE
"""
_WRITE: Final = """
UPDATE site_states s SET rules = c.rules::jsonb, due_us = c.due_us
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS c (site_id, rules, due_us)
WHERE s.site_id = c.site_id AND (s.rules, s.due_us) IS DISTINCT FROM (c.rules::jsonb, c.due_us)
"""
_IN_PARTITIONS: Final = "($1::int IS NULL OR site_partition(site_id, $1) = ANY ($2::int[]))"
_DUE: Final = f"""
SELECT site_id FROM site_states WHERE due_us <= $3 AND {_IN_PARTITIONS} ORDER BY due_us LIMIT $4
"""  # noqa: S608 (constants)
_OPEN: Final = f"SELECT site_id FROM site_states WHERE rules <> '{{}}' AND {_IN_PARTITIONS}"  # noqa: S608 (constants)


class SiteStateRow(NamedTuple):
    """The states of a site's rules, and when the next timer of one expires (µs since the epoch)."""

    rules: dict[str, list[Any]]
    due_us: int | None


async def lock_site_states(
    connection: RawConnection, site_ids: Collection[UUID]
) -> dict[UUID, dict[str, list[Any]]]:
    """Lock the states of sites until the transaction ends. Lock boxes first. Deleted sites are left out."""
    if not site_ids:
        return {}
    rows = await connection.fetch(_LOCK, list(site_ids))
    if len(rows) < len(site_ids):
        await connection.execute(_MAKE, list(site_ids))
        rows = await connection.fetch(_LOCK, list(site_ids))
    return {row["site_id"]: _decode(row["rules"]) for row in rows}


async def write_site_states(connection: RawConnection, rows: Mapping[UUID, SiteStateRow]) -> None:
    """Write the states of locked sites that have changed."""
    if rows:
        await connection.execute(
            _WRITE,
            list(rows),
            [_encode(row.rules).decode() for row in rows.values()],
            [row.due_us for row in rows.values()],
        )


async def find_due_sites(
    connection: RawConnection, at_us: int, limit: int, owned: OwnedPartitions | None = None
) -> list[UUID]:
    """Find the sites with a timer that expires by this time, the longest overdue first.

    Args:
        connection: the connection.
        at_us: the time (µs since the epoch).
        limit: the most sites to return.
        owned: the partitions of the sites; None for all.
    """
    return [row["site_id"] for row in await connection.fetch(_DUE, *_name_partitions(owned), at_us, limit)]


async def find_sites_with_active_rules(
    connection: RawConnection, owned: OwnedPartitions | None = None
) -> list[UUID]:
    """Find the sites, of some partitions or of all, on which a rule is not at rest."""
    return [row["site_id"] for row in await connection.fetch(_OPEN, *_name_partitions(owned))]


def _name_partitions(owned: OwnedPartitions | None) -> tuple[int | None, list[int]]:
    return (None, []) if owned is None else (owned.count, owned.numbers)
