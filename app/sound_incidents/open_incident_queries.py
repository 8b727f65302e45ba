"""Counts and lists the incidents that wait for a review."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from app.platform.db.database import ReadSession
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site
from app.sound_incidents.models import Incident


async def list_open_incidents(
    session: ReadSession, visible: TenantScope, organisation: UUID | None, most: int
) -> tuple[Sequence[Row[Any]], int]:
    """List the newest incidents that wait for a review, and count all of them.

    Args:
        session: A session of the API.
        visible: The caller's tenant scope.
        organisation: Only incidents of this organisation; None: of all in the tenant scope.
        most: The largest number of rows.

    Returns:
        Rows with the fields of `app.alerts.overview_schemas.IncidentSituation` but its labels, and the count.
    """
    statement = select(
        Incident.id,
        Incident.site_id,
        Site.name.label("site_name"),
        Site.timezone,
        Incident.occurred_at,
        Incident.classes,
        Incident.probability,
        Incident.evidence,
        Incident.verified,
        Incident.boxes,
        Incident.rounds,
        func.count().over().label("total"),
    ).join(Site, Site.id == Incident.site_id)
    statement = statement.where(Incident.state == "open", Incident.erased_at.is_(None))
    statement = statement.where(*visible.within(Incident.organisation_id, Incident.site_id))
    if organisation is not None:
        statement = statement.where(Incident.organisation_id == organisation)
    newest = statement.order_by(Incident.occurred_at.desc(), Incident.id.desc()).limit(most)
    rows = (await session.execute(newest)).all()
    return rows, rows[0].total if rows else 0
