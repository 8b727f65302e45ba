"""Reads the public views of the register, under a database role that sees nothing else.

It must not read tables: the role has no access to them.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np

from app.catalogue.metrics import CATALOGUE
from app.catalogue.purposes import PURPOSES
from app.platform.db.database import RawConnection
from app.public_register.recent_site_measurements import BoxSamples, RecentAggregator
from app.public_register.register_model import (
    AlertCount,
    AlertRecipient,
    IncidentFigures,
    OpenData,
    PublishedBox,
    PublishedGrant,
    PublishedPurpose,
    PublishedSite,
    RecentMeasurements,
    RefusalCount,
    RegisterChange,
    RegisterSnapshot,
    SiteMean,
)
from app.registry.site_retention import RetentionSettings

ROLE: Final = "vigie_public"
HISTORY_PAGE_SIZE: Final = 100
"""Entries of the history on a page."""
HISTORY_READ_LIMIT: Final = 2_000
"""Rows that are read for a page of the history: changes of one time are merged to one entry."""
_LEVELS: Final = [metric.name for metric in CATALOGUE if metric.kind == "level"]
_ORDER: Final = {purpose.name: index for index, purpose in enumerate(PURPOSES)}
_SITES: Final = "SELECT * FROM public_sites ORDER BY lower(name), id"
_BOXES: Final = "SELECT * FROM public_boxes ORDER BY id"
_PURPOSES: Final = "SELECT * FROM public_purposes"
_RECIPIENTS: Final = "SELECT * FROM public_recipients ORDER BY recipient NULLS LAST, kind"
_GRANTS: Final = "SELECT * FROM public_grants ORDER BY recipient NULLS LAST, purpose"
_ALERTS: Final = "SELECT * FROM public_alerts"
_REFUSALS: Final = "SELECT * FROM public_refusals ORDER BY year DESC, code, purpose"
_INCIDENTS: Final = "SELECT * FROM public_incidents"
_CHANGES: Final = """
SELECT id, at, site_id, site_name, kind, data::text AS data FROM public_changes
WHERE ($1::uuid IS NULL OR site_id = $1) AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""
_MEASURED: Final = "SELECT metric FROM public_measured WHERE site_id = $1"
# Means are weighted by their numbers of values; sound levels are averaged by energy. An hour or day in which
# the purpose began is left out, since its roll-up includes values from before.
_MEANS: Final = """
SELECT metric, time, sum(count)::bigint AS count, CASE WHEN metric = ANY ($4)
    THEN 10 * log(sum(count * power(10, mean / 10)) / sum(count))
    ELSE sum(count * mean) / sum(count) END AS mean
FROM {view} JOIN unnest($2::text[], $5::timestamptz[]) AS purpose (metric, starts_at) USING (metric)
WHERE site_id = $1 AND metric = ANY ($2) AND {since} >= $3 AND (starts_at IS NULL OR time >= starts_at)
GROUP BY metric, time ORDER BY metric, time
"""
_HOURS: Final = _MEANS.format(view="public_hours", since="day")
_DAYS: Final = _MEANS.format(view="public_days", since="time")
# `columns` are names of the catalogue, never input of a client.
_RECENT: Final = "SELECT kind, interval_s, times{columns} FROM public_recent WHERE site_id = $1"
_BOXES_READ: Final = 4
_HOURS_OF: Final = timedelta(days=7)
_DAYS_OF: Final = timedelta(days=365)


async def read_register(connection: RawConnection, licence: str | None = None) -> RegisterSnapshot:
    """Read all that is public in one snapshot, except figures and history.

    Args:
        connection: A connection under `ROLE`.
        licence: The licence of open data for sites without a licence.
    """
    async with _snapshot(connection):
        at: datetime = await connection.fetchval("SELECT now()")
        sites = await connection.fetch(_SITES)
        boxes = _by_site(PublishedBox(**row) for row in await connection.fetch(_BOXES))
        purposes = _by_site(PublishedPurpose(**row) for row in await connection.fetch(_PURPOSES))
        recipients = _by_site(AlertRecipient(**row) for row in await connection.fetch(_RECIPIENTS))
        grants = _by_site(PublishedGrant(**row) for row in await connection.fetch(_GRANTS))
        alerts = _by_site(AlertCount(**row) for row in await connection.fetch(_ALERTS))
        incidents = {row["site_id"]: IncidentFigures(**row) for row in await connection.fetch(_INCIDENTS)}
        refusals = _by_site(RefusalCount(**row) for row in await connection.fetch(_REFUSALS))
    found: dict[UUID, PublishedSite] = {}
    for row in sites:
        key: UUID = row["id"]
        found[key] = PublishedSite(
            **_site(row, licence),
            boxes=tuple(boxes[key]),
            purposes=tuple(
                sorted(
                    (each for each in purposes[key] if each.purpose in _ORDER),
                    key=lambda each: _ORDER[each.purpose],  # type: ignore[index]
                )
            ),
            recipients=tuple(recipients[key]),
            grants=tuple(grants[key]),
            alerts=tuple(alerts[key]),
            refusals=tuple(refusals[key]),
            incidents=incidents.get(key),
        )
    return RegisterSnapshot(at, found, tuple(refusals[None]))


async def read_changes(
    connection: RawConnection, site_id: UUID | None, before: int | None = None
) -> list[RegisterChange]:
    """Read enough of the history for a page, the newest first.

    Args:
        connection: A connection under `ROLE`.
        site_id: The site; None: all sites.
        before: The cursor: only changes with smaller ids; None: the newest ones.
    """
    rows = await connection.fetch(_CHANGES, site_id, before, HISTORY_READ_LIMIT)
    return [RegisterChange(**{**row, "data": json.loads(row["data"])}) for row in rows]


async def read_open_data(connection: RawConnection, site: PublishedSite, now: datetime) -> OpenData:
    """Read the published figures of a site since the begin of their purposes, as means over its boxes.

    Args:
        connection: A connection under `ROLE`.
        site: The site.
        now: The current time. The current day is included as far as its roll-ups exist.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    names = site.open_metrics
    starts = [site.metric_starts.get(name) for name in names]
    async with _snapshot(connection):
        measured = await connection.fetch(_MEASURED, site.id)
        hours = await connection.fetch(_HOURS, site.id, names, midnight - _HOURS_OF, _LEVELS, starts)
        days = await connection.fetch(_DAYS, site.id, names, midnight - _DAYS_OF, _LEVELS, starts)
    return OpenData(frozenset(row["metric"] for row in measured), _series(hours), _series(days))


async def read_recent(connection: RawConnection, site: PublishedSite) -> RecentMeasurements:
    """Read and aggregate the open metrics of a site of the last 24 hours.

    Args:
        connection: A connection under `ROLE`.
        site: The site.
    """
    names = site.open_metrics
    columns = "".join(f', "{name}"' for name in names)
    async with _snapshot(connection):
        aggregator = RecentAggregator(site, await connection.fetchval("SELECT now()"))
        if names:
            # A cursor bounds memory: a site may have hundreds of boxes.
            query = _RECENT.format(columns=columns)
            async for row in connection.cursor(query, site.id, prefetch=_BOXES_READ):
                await asyncio.to_thread(aggregator.add, _samples(row, names))
    return await asyncio.to_thread(aggregator.result)


def _samples(row: asyncpg.Record, names: Sequence[str]) -> BoxSamples:
    found = {name: np.array(row[name], dtype=np.float64) for name in names}
    measured = {name: values for name, values in found.items() if not np.isnan(values).all()}
    return BoxSamples(row["kind"], row["interval_s"], np.array(row["times"], dtype=np.int64), measured)


def _snapshot(connection: RawConnection) -> asyncpg.transaction.Transaction:
    return connection.transaction(isolation="repeatable_read", readonly=True)


def _by_site[T: (PublishedBox, PublishedPurpose, AlertRecipient, PublishedGrant, AlertCount, RefusalCount)](
    entries: Iterable[T],
) -> dict[UUID | None, list[T]]:
    found: dict[UUID | None, list[T]] = defaultdict(list)
    for entry in entries:
        found[entry.site_id].append(entry)
    return found


def _site(row: asyncpg.Record, licence: str | None) -> dict[str, Any]:
    names = (
        "id",
        "operator",
        "name",
        "kind",
        "timezone",
        "precision_m",
        "longitude",
        "latitude",
        "created_at",
        "address",
    )
    retention = RetentionSettings.of_columns(
        row["retention_days"],
        row["retention_purposes"],
        row["summaries_days"],
        removes=row["retention_removes"],
    )
    return {
        **{name: row[name] for name in names},
        "retention": retention,
        "licence": row["licence"] or licence,
    }


def _series(rows: Iterable[asyncpg.Record]) -> dict[str, list[SiteMean]]:
    found: dict[str, list[SiteMean]] = {}
    for row in rows:
        found.setdefault(row["metric"], []).append(SiteMean(row["time"], row["mean"], row["count"]))
    return found
