"""Serves the progress of roll-ups over REST, and starts their backfill, for operators."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.fields import Instant
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ForbiddenError
from app.timeseries.series.reading_queries import get_measured_box

router: Final = APIRouter(prefix="/v1/roll-ups", tags=["Service"], route_class=StrictRoute)

_HOURS: Final = "coalesce(sum(extract(epoch FROM {}) / 3600), 0)::bigint"
_PROGRESS: Final = text(f"""
SELECT
    (SELECT count(*) FROM rollup_marks) AS marked_hours,
    (SELECT min(hour) FROM rollup_marks) AS oldest_marked_hour,
    (SELECT count(*) FROM rollup_day_marks) AS marked_days,
    count(*) FILTER (WHERE backfill_next IS NOT NULL) AS boxes,
    {_HOURS.format("backfill_until - backfill_from")} AS hours,
    {_HOURS.format("backfill_next - backfill_from")} AS done
FROM rollup_states
""")  # noqa: S608 (constants)
_SCHEDULE: Final = text("""
WITH extent AS (
    SELECT s.box_key,
        date_trunc('hour', greatest(f.time, CAST(:first AS timestamptz)), 'UTC') AS first,
        date_trunc('hour', l.time, 'UTC') + interval '1 hour' AS last
    FROM rollup_states s,
    LATERAL (SELECT time FROM tenant_samples WHERE box_key = s.box_key ORDER BY time LIMIT 1) f,
    LATERAL (SELECT time FROM tenant_samples WHERE box_key = s.box_key ORDER BY time DESC LIMIT 1) l
    WHERE CAST(:key AS integer) IS NULL OR s.box_key = :key
)
UPDATE rollup_states s SET backfill_next = least(s.backfill_next, e.first),
    backfill_from = least(s.backfill_next, e.first), backfill_until = greatest(s.backfill_until, e.last)
FROM extent e WHERE s.box_key = e.box_key AND e.first < e.last
""")


class BackfillOut(BaseModel):
    """Progress of backfills, after a change of time zone or on request."""

    boxes: int = Field(description="Number of boxes with a backfill")
    hours: int = Field(description="Hours of all these backfills, from start to end")
    done: int = Field(description="How many of these hours are done")


class RollUpsOut(BaseModel):
    """Progress of the roll-ups.

    Series are correct in any case: hours that are not included yet are read from samples.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "marked_hours": 1204,
                    "oldest_marked_hour": "2026-11-24T09:00:00Z",
                    "marked_days": 1000,
                    "backfill": {"boxes": 12, "hours": 105_120, "done": 40_880},
                }
            ]
        }
    )

    marked_hours: int = Field(
        description="Box hours with samples that no roll-up includes yet, current hours included"
    )
    oldest_marked_hour: datetime | None = Field(description="Start of the oldest one")
    marked_days: int = Field(description="Local days of boxes with samples that no roll-up includes yet")
    backfill: BackfillOut


class BackfillRequest(BaseModel):
    """The samples to summarise again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"box": "box-0001", "from": "2026-01-01T00:00:00Z"}, {}]},
    )

    box: str | None = Field(None, description="Only this box; all boxes by default")
    from_: Instant | None = Field(
        None, alias="from", description="Only samples at or after this; all samples by default"
    )


def _require_operator(principal: Principal) -> None:
    if not principal.platform:
        raise ForbiddenError("Only administrators of the platform may manage roll-ups.")


async def _progress(session: AsyncSession) -> RollUpsOut:
    (row,) = (await session.execute(_PROGRESS)).mappings()
    backfill = BackfillOut(boxes=row["boxes"], hours=row["hours"], done=row["done"])
    return RollUpsOut(
        marked_hours=row["marked_hours"],
        oldest_marked_hour=row["oldest_marked_hour"],
        marked_days=row["marked_days"],
        backfill=backfill,
    )


@router.get("", summary="Read the progress of roll-ups")
async def get_roll_ups(
    principal: Annotated[Principal, Depends(require_scope("telemetry:read"))], session: ReadSessionDep
) -> RollUpsOut:
    """Count the hours and days that roll-ups do not include yet, over all organisations."""
    _require_operator(principal)
    return await _progress(session)


@router.post("/backfill", summary="Rebuild roll-ups", status_code=202, responses=document_problems(404))
async def create_roll_up_backfill(
    principal: Annotated[Principal, Depends(require_scope("sites:write"))],
    session: WriteSessionDep,
    body: Annotated[BackfillRequest, Body()],
) -> RollUpsOut:
    """Rebuild the roll-ups of one box or all boxes in the background. See `GET /v1/roll-ups` for progress.

    You need this only after a manual repair of the database: late samples and replays are included
    automatically. Until it is done, the series concerned are read from samples.
    """
    _require_operator(principal)
    key = None if body.box is None else (await get_measured_box(session, body.box, principal.visible())).key
    await session.execute(_SCHEDULE, {"key": key, "first": body.from_})
    return await _progress(session)
