"""Finds the metrics of a grant whose purpose is declared and in force at each of its sites."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.registry.models import Site, SitePurpose


class PurposesInForce(NamedTuple):
    """The purposes that are in force at sites.

    Attributes:
        by_site: The names of the purposes, by each site that exists.
        ends_at: The time at which the first of them ends; None: none of them has an end.
    """

    by_site: Mapping[UUID, frozenset[str]]
    ends_at: datetime | None

    def select_metrics(self, site_id: UUID, metrics: Collection[str]) -> frozenset[str]:
        """Return the metrics whose purpose is in force at a site."""
        purposes = self.by_site.get(site_id, frozenset())
        return frozenset(name for name in metrics if PURPOSE_BY_METRIC.get(name) in purposes)


async def read_purposes_in_force(
    session: AsyncSession, organisation_id: UUID, site_ids: Collection[UUID], now: datetime
) -> PurposesInForce:
    """Read the purposes in force at an organisation's sites. Other sites are left out.

    Args:
        session: Reads them.
        organisation_id: The organisation.
        site_ids: The sites.
        now: The time.
    """
    in_force = and_(
        SitePurpose.site_id == Site.id,
        or_(SitePurpose.starts_at.is_(None), SitePurpose.starts_at <= now),
        or_(SitePurpose.ends_at.is_(None), SitePurpose.ends_at > now),
        or_(SitePurpose.sensitive.is_(False), SitePurpose.approved_at.is_not(None)),
    )
    statement = select(Site.id, SitePurpose.purpose, SitePurpose.ends_at).outerjoin(SitePurpose, in_force)
    statement = statement.where(Site.organisation_id == organisation_id, Site.id.in_(site_ids))
    found: defaultdict[UUID, set[str]] = defaultdict(set)
    ends: list[datetime] = []
    for site_id, purpose, ends_at in await session.execute(statement):
        purposes = found[site_id]
        if purpose is not None:
            purposes.add(purpose)
        if ends_at is not None:
            ends.append(ends_at)
    return PurposesInForce(
        {site: frozenset(purposes) for site, purposes in found.items()}, min(ends, default=None)
    )
