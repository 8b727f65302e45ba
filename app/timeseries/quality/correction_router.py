"""Serves the corrections of a box over REST (`/v1/boxes/{box}/corrections`)."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.registry import box_repository
from app.registry.dependencies import SitesWriter
from app.timeseries.quality import correction_queries, correction_service
from app.timeseries.quality.correction_queries import CORRECTIONS
from app.timeseries.quality.correction_schemas import (
    CorrectionChange,
    CorrectionCreate,
    CorrectionOut,
    Measured,
)
from app.timeseries.quality.models import Correction

router: Final = APIRouter(prefix="/v1/boxes/{box}/corrections", tags=["Readings"], route_class=StrictRoute)
_Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]


@router.post("", status_code=201, summary="Define a correction")
async def create_correction(
    box: str, principal: SitesWriter, session: WriteSessionDep, body: CorrectionCreate
) -> CorrectionOut:
    """Define how a box's values of a metric are corrected for a period.

    Measured values never change: `corrected=true` returns the corrected values. If both kinds are in force,
    humidity is applied before `linear`. Two corrections of one kind cannot overlap (`correction_overlaps`):
    end the earlier one first. The parameters of a correction never change. A box has 500 corrections at most
    (`too_many_corrections`).
    """
    made = await correction_service.add_correction(session, principal, box, body, datetime.now(UTC))
    return CorrectionOut.of(made, box)


@router.get("", summary="List a box's corrections")
async def list_corrections(
    *,
    box: str,
    principal: _Reader,
    session: ReadSessionDep,
    metric: Annotated[Measured | None, Query(description="Only corrections of this metric")] = None,
    page_request: Annotated[PageRequest, Depends(CORRECTIONS.page_request)],
) -> Page[CorrectionOut]:
    """List the corrections of a box, including ended ones, by default in the order of `valid_from`."""
    found = await box_repository.get_box(session, box, principal.visible())
    rows = await correction_queries.list_corrections(session, found, page_request, metric=metric)
    page, following = CORRECTIONS.cut(rows, page_request)
    return Page(data=[CorrectionOut.of(row, found.id) for row in page], next=following)


@router.get("/{correction_id}", summary="Read a correction")
async def get_correction(
    box: str, principal: _Reader, session: ReadSessionDep, correction_id: str
) -> CorrectionOut:
    """Read one correction of a box."""
    identifier = parse_id(correction_id, "correction")
    found = await box_repository.get_box(session, box, principal.visible())
    return CorrectionOut.of(await correction_queries.find_correction(session, found, identifier), found.id)


@router.patch("/{correction_id}", summary="End a correction", responses=document_problems(409))
async def update_correction(
    *,
    box: str,
    principal: SitesWriter,
    session: WriteSessionDep,
    correction_id: str,
    body: CorrectionChange,
    matching: PreconditionDep,
) -> CorrectionOut:
    """Change the end of a correction (null: no end) or its note.

    Metric, kind, parameters and start never change, because responses refer to a correction by its id. For
    other parameters, end it and define a new one.
    """

    def shown(row: Correction) -> CorrectionOut:
        return CorrectionOut.of(row, box)

    return shown(
        await correction_service.change_correction(
            session,
            principal,
            (box, parse_id(correction_id, "correction")),
            collect_sent_fields(body),
            datetime.now(UTC),
            check=matching.on(shown),
        )
    )


@router.delete("/{correction_id}", status_code=204, summary="Delete a correction")
async def delete_correction(
    box: str, principal: SitesWriter, session: WriteSessionDep, correction_id: str, matching: PreconditionDep
) -> None:
    """Delete a correction that was a mistake: values are read as if it had never existed.

    If it was right until now, end it instead (PATCH).
    """
    await correction_service.delete_correction(
        session,
        principal,
        (box, parse_id(correction_id, "correction")),
        check=lambda row: matching.check(CorrectionOut.of(row, box)),
    )
