"""Counts and lists firing alerts and inactive boxes by site, within the caller's tenant scope."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Date, Row, Text, Uuid, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Alert
from app.alerts.overview_schemas import (
    LISTED_SITES,
    BoxActivityCounts,
    FiringCounts,
    IncidentSituation,
    OpenIncidents,
    RefusedBox,
    RefusedBoxes,
    SeverityCounts,
    SilentBox,
    SilentBoxes,
    SiteSituation,
)
from app.catalogue.gunshot_sources import CATALOGUE
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_repository import BoxCounts, InactiveRow
from app.registry.settings import SAMPLES
from app.registry.site_repository import read_site_names
from app.rules.definitions.severity import SEVERITIES, Severity


class FiringAtSite(NamedTuple):
    """The number of firing alerts at a site, by severity."""

    site_id: UUID
    counts: dict[Severity, int]


async def count_firing(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None
) -> tuple[FiringCounts, list[FiringAtSite]]:
    """Count firing alerts, in total and by site."""
    statement = select(
        Alert.site_id,
        Alert.severity,
        func.count().label("total"),
        func.count().filter(Alert.acknowledged_at.is_(None)).label("unacknowledged"),
        func.count(Alert.suppressed).label("suppressed"),
    ).where(Alert.state == "firing", Alert.dry_run.is_(False))
    statement = statement.where(*visible.within(Alert.organisation_id, Alert.site_id))
    if organisation is not None:
        statement = statement.where(Alert.organisation_id == organisation)
    rows = (await session.execute(statement.group_by(Alert.site_id, Alert.severity))).all()
    by_site: dict[UUID, dict[Severity, int]] = {}
    for row in rows:
        by_site.setdefault(row.site_id, dict.fromkeys(SEVERITIES, 0))[row.severity] = row.total
    by_severity = {
        severity: sum(row.total for row in rows if row.severity == severity) for severity in SEVERITIES
    }
    counts = FiringCounts(
        total=sum(by_severity.values()),
        by_severity=_severities(by_severity),
        unacknowledged=sum(row.unacknowledged for row in rows),
        suppressed=sum(row.suppressed for row in rows),
    )
    return counts, [FiringAtSite(site, found) for site, found in by_site.items()]


def _severities(counts: Mapping[Severity, int]) -> SeverityCounts:
    return SeverityCounts(critical=counts["critical"], warning=counts["warning"], info=counts["info"])


# Counts stored samples exactly, by organisation and day (UTC): a few rows, where samples are millions.
_USAGE: Final = table(
    "organisation_usage",
    column("organisation_id", Uuid),
    column("day", Date),
    column("quota", Text),
    column("used", BigInteger),
)


async def count_stored_samples(
    session: AsyncSession, visible: TenantScope, organisation: UUID | None, today: date
) -> int:
    """Count the samples that were stored yesterday and today (UTC), within whole organisations."""
    statement = select(func.coalesce(func.sum(_USAGE.c.used), 0))
    statement = statement.where(_USAGE.c.quota == SAMPLES, _USAGE.c.day >= today - timedelta(days=1))
    statement = statement.where(*visible.within(_USAGE.c.organisation_id))
    if organisation is not None:
        statement = statement.where(_USAGE.c.organisation_id == organisation)
    return int((await session.execute(statement)).scalar_one())


def sum_activities(counts: Sequence[BoxCounts]) -> BoxActivityCounts:
    """Add up the boxes of all sites by activity."""
    total, silent, refused = (
        sum(getattr(each, name) for each in counts) for name in ("total", "silent", "refused")
    )
    return BoxActivityCounts(total=total, active=total - silent - refused, silent=silent, refused=refused)


async def list_situations(
    session: AsyncSession,
    firing: Sequence[FiringAtSite],
    boxes: Sequence[BoxCounts],
) -> tuple[list[SiteSituation], int]:
    """List the sites with firing alerts or inactive boxes, the most severe first, and count them.

    Args:
        session: A session of the API.
        firing: The firing alerts, by site.
        boxes: The numbers of boxes and of inactive boxes, by site.
    """
    counted = {each.site_id: each for each in boxes}
    fires = {each.site_id: each.counts for each in firing}
    nothing = dict.fromkeys(SEVERITIES, 0)

    def severity_key(site: UUID) -> tuple[int, ...]:
        found = fires.get(site, nothing)
        return (*(-found[severity] for severity in reversed(SEVERITIES)), -inactive(site))

    def boxes_at(site: UUID) -> BoxCounts:
        return counted.get(site, BoxCounts(site, 0, 0, 0))

    def inactive(site: UUID) -> int:
        return boxes_at(site).silent + boxes_at(site).refused

    affected = {*fires, *filter(inactive, counted)}
    chosen = sorted(sorted(affected), key=severity_key)[:LISTED_SITES]
    names = await read_site_names(session, chosen)
    situations = [
        SiteSituation(
            site_id=site,
            site_name=names.get(site, ""),
            firing=_severities(fires.get(site, nothing)),
            boxes=boxes_at(site).total,
            silent_boxes=boxes_at(site).silent,
            refused_boxes=boxes_at(site).refused,
        )
        for site in chosen
    ]
    return situations, len(affected)


def describe_open_incidents(rows: Sequence[Row[Any]], total: int) -> OpenIncidents:
    """Describe incidents that wait for a review, with the names of their likeliest sources."""
    listed = []
    for row in rows:
        likeliest = row.classes[0]["class"] if row.classes else None
        known = CATALOGUE.classes.get(likeliest or "")
        labels = {
            "class": likeliest,
            "class_label": likeliest if known is None else known.label,
            "class_label_fr": likeliest if known is None else known.label_fr,
        }
        listed.append(IncidentSituation.model_validate(row._asdict() | labels))
    return OpenIncidents(total=total, listed=listed)


async def describe_inactive(
    session: AsyncSession, counts: Sequence[BoxCounts], rows: Sequence[InactiveRow]
) -> tuple[SilentBoxes, RefusedBoxes]:
    """Describe silent and refused boxes with the names of their sites, and count all."""
    names = await read_site_names(session, [row.site_id for row in rows])
    silent, refused = [], []
    for row in rows:
        common = {
            "box": row.box,
            "box_name": row.name,
            "site_id": row.site_id,
            "site_name": names.get(row.site_id),
        }
        if row.activity == "silent":
            silent.append(SilentBox(**common, last_heard_at=row.last_heard_at))
        else:
            refused.append(RefusedBox(**common, refused_at=row.refused_at, code=row.code))
    total = sum(each.total for each in counts)
    return (
        SilentBoxes(total=sum(each.silent for each in counts), of=total, listed=silent),
        RefusedBoxes(total=sum(each.refused for each in counts), of=total, listed=refused),
    )
