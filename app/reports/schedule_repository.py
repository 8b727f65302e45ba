"""Queries and locks scheduled reports and their mails for the API, within the caller's tenant scope."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert

from app.environmental_indices.period_selection import DatedPeriod
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, uuid_sort_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import TenantScope
from app.reports.models import ReportRun, ReportSchedule

SCHEDULES: Final = SortOrders(
    "report_schedules",
    (uuid_sort_key(ReportSchedule.id),),
    {"created_at": (), "next_at": (instant_sort_key(ReportSchedule.next_at),)},
    "created_at",
)
RUNS: Final = SortOrders("report_runs", (uuid_sort_key(ReportRun.id),), {"id": ()}, "-id")


def _select_visible(visible: TenantScope) -> Select[ReportSchedule]:
    return select(ReportSchedule).where(
        *visible.within(ReportSchedule.organisation_id, ReportSchedule.site_id)
    )


async def list_schedules(
    session: ReadSession | WriteSession,
    visible: TenantScope,
    page: PageRequest,
    *,
    site: UUID | None,
    organisation: UUID | None,
) -> Sequence[ReportSchedule]:
    """Read a page of schedules, and one more if there is a next page.

    Args:
        session: the session.
        visible: the caller's tenant scope.
        page: the requested page.
        site: only of this site.
        organisation: only of this organisation.
    """
    query = _select_visible(visible)
    if site is not None:
        query = query.where(ReportSchedule.site_id == site)
    if organisation is not None:
        query = query.where(ReportSchedule.organisation_id == organisation)
    return (await session.scalars(SCHEDULES.page(query, page))).all()


async def find_schedule(
    session: ReadSession | WriteSession, schedule_id: UUID, visible: TenantScope, *, lock: bool = False
) -> ReportSchedule:
    """Read a schedule, and lock it if it will be changed. NotFoundError outside of the tenant scope."""
    query = _select_visible(visible).where(ReportSchedule.id == schedule_id)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError("report schedule", schedule_id)
    return row


async def count_schedules(session: WriteSession, organisation: UUID) -> int:
    """Count the schedules of an organisation."""
    query = select(func.count()).select_from(ReportSchedule)
    return (await session.execute(query.where(ReportSchedule.organisation_id == organisation))).scalar_one()


async def list_runs(session: ReadSession, schedule_id: UUID, page: PageRequest) -> Sequence[ReportRun]:
    """Read a page of a schedule's mails, and one more if there is a next page."""
    query = select(ReportRun).where(ReportRun.schedule_id == schedule_id)
    return (await session.scalars(RUNS.page(query, page))).all()


async def find_last_requested_run(session: WriteSession, schedule_id: UUID) -> ReportRun | None:
    """Find the newest mail of a schedule that a person requested."""
    query = select(ReportRun).where(ReportRun.schedule_id == schedule_id, ReportRun.requested)
    return await session.scalar(query.order_by(ReportRun.id.desc()).limit(1))


async def add_scheduled_run(
    session: WriteSession, schedule: ReportSchedule, period: DatedPeriod, now: datetime
) -> None:
    """Add the mail of a period that is due, if the schedule has none of it yet."""
    values = {
        "id": new_id(),
        "schedule_id": schedule.id,
        "organisation_id": schedule.organisation_id,
        "site_id": schedule.site_id,
        "report": schedule.report,
        "first_day": period.first,
        "last_day": period.last,
        "requested": False,
        "due_at": now,
        "created_at": now,
    }
    statement = insert(ReportRun).values(values)
    await session.execute(
        statement.on_conflict_do_nothing(
            index_elements=("schedule_id", "report", "first_day"), index_where=~ReportRun.requested
        )
    )
