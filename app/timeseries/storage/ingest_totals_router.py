"""Serves the daily ingest totals over REST, for administrators of the platform."""

from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import func, select

from app.platform.http.contract.fields import DateParameter
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ForbiddenError
from app.timeseries.storage.models import IngestTotal

router: Final = APIRouter(prefix="/v1/ingest-totals", tags=["Service"])
_DAYS = 366


class IngestTotalOut(BaseModel):
    """The totals of a day (UTC) by MQTT or HTTP. The first four counts add up to the samples sent."""

    day: date
    door: str = Field(examples=["mqtt"])
    stored: int = Field(description="New samples")
    duplicate: int = Field(description="Samples that are stored already, with the same values")
    conflict: int = Field(
        description="Samples with the time of a stored one and other values; the first is retained"
    )
    rejected: int = Field(description="Refused samples, stored in quarantine")
    late: int = Field(
        description="Stored samples that rules do not evaluate, because newer ones were stored before"
    )


class IngestTotals(BaseModel):
    """Totals by day and by MQTT or HTTP, the newest day first."""

    data: list[IngestTotalOut]
    next: None = None


@router.get("", summary="Count ingested samples by day", responses=document_problems(403))
async def list_ingest_totals(
    principal: Annotated[Principal, Depends(require_scope("telemetry:read"))],
    session: ReadSessionDep,
    since: Annotated[DateParameter | None, Query(description="Only this day and later ones")] = None,
) -> IngestTotals:
    """Count samples by day and by MQTT or HTTP, over all organisations, for the last 366 days at most.

    The counts are written in the transactions that store the samples, so they are exact even after a crash.
    """
    if not principal.platform:
        raise ForbiddenError("Only the platform's administrators see totals over all organisations.")
    totals = IngestTotal
    query = (
        select(
            totals.day,
            totals.door,
            *(
                func.sum(column).label(column.key)
                for column in (
                    totals.stored,
                    totals.duplicate,
                    totals.conflict,
                    totals.rejected,
                    totals.late,
                )
            ),
        )
        .group_by(totals.day, totals.door)
        .order_by(totals.day.desc(), totals.door)
        .limit(2 * _DAYS)
    )
    if since is not None:
        query = query.where(totals.day >= since)
    return IngestTotals(data=[IngestTotalOut(**row) for row in (await session.execute(query)).mappings()])
