"""`/v1/silences`: the HTTP of silences, and nothing else."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.alerts import muting_repository, muting_service, repository
from app.alerts.alert_presentation import Presenter
from app.alerts.muting_repository import SILENCES, SilenceWithState
from app.alerts.muting_schemas import (
    SilenceChange,
    SilenceCreate,
    SilenceMade,
    SilenceOut,
    SilenceState,
)
from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertOut
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.dependencies import OrganisationFilter

router = APIRouter(prefix="/v1/silences", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read", whole=True))]
_Writer = Annotated[Principal, Depends(require_scope("alerts:write", whole=True))]


def _shown(known: SilenceWithState) -> SilenceOut:
    return SilenceOut.of(*known)


@router.post(
    "",
    status_code=201,
    summary="Create a silence",
    operation_id="create_silence",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def create_silence(principal: _Writer, session: WriteSessionDep, body: SilenceCreate) -> SilenceMade:
    """Have alerts that match not told for a time, or in the hours of a schedule.

    They fire and resolve all the same. An alert that still fires when nothing mutes it any more is told then;
    one that was told before is told to have resolved even while it is silenced. What fires already is muted
    within some seconds; `matching_alerts` says how many that are. Up to 500 in an organisation are pending or
    active (`too_many_silences`).
    """
    made = await muting_service.add_silence(session, principal, body, datetime.now(UTC))
    matching = await muting_repository.count_matching_alerts(session, made.silence.id)
    return SilenceMade.of(*made, matching_alerts=matching)


@router.get(
    "",
    summary="List silences",
    operation_id="list_silences",
    responses=document_problems(401, 403, 422),
)
async def list_silences(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    state: Annotated[SilenceState | None, Query(description="Only those in this state now")] = None,
    site: Annotated[Identifier | None, Query(description="Only those whose matchers name this site")] = None,
    organisation: OrganisationFilter = None,
    asked: Annotated[PageRequest, Depends(SILENCES.page_request)],
) -> Page[SilenceOut]:
    """List silences, by default the oldest first; expired ones are kept."""
    rows = await muting_repository.list_silences(
        session, principal.visible(), asked, state=state, site_id=site, organisation=organisation
    )
    kept, following = SILENCES.cut(rows, asked)
    return Page(data=[SilenceOut.of(*row) for row in kept], next=following)


@router.get(
    "/{silence_id}",
    summary="Read a silence",
    operation_id="get_silence",
    responses=document_problems(401, 403, 404),
)
async def get_silence(principal: _Reader, session: ReadSessionDep, silence_id: str) -> SilenceOut:
    """Read one silence."""
    identifier = parse_id(silence_id, "silence")
    return SilenceOut.of(*await muting_repository.find_silence(session, identifier, principal.visible()))


@router.get(
    "/{silence_id}/alerts",
    summary="What a silence mutes",
    operation_id="list_silenced_alerts",
    responses=document_problems(401, 403, 404, 422),
)
async def list_silenced_alerts(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    presenter: Presenter,
    silence_id: str,
    asked: Annotated[PageRequest, Depends(repository.SILENCED.page_request)],
) -> Page[AlertOut]:
    """List the firing alerts that a silence matches now: none while it is not active."""
    identifier = parse_id(silence_id, "silence")
    silence = (await muting_repository.find_silence(session, identifier, principal.visible())).silence
    wanted = AlertFilter(visible=TenantScope.of([silence.organisation_id]), silence_id=silence.id)
    found = await repository.list_alerts(session, wanted, asked, repository.SILENCED)
    rows, following = repository.SILENCED.cut(found, asked)
    return Page(data=await presenter.show(session, rows), next=following)


@router.patch(
    "/{silence_id}",
    summary="Change a silence",
    operation_id="update_silence",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def update_silence(
    principal: _Writer,
    session: WriteSessionDep,
    silence_id: str,
    body: SilenceChange,
    matching: PreconditionDep,
) -> SilenceOut:
    """Change the fields given of a silence that has not expired; `matchers` are replaced as a whole."""
    return SilenceOut.of(
        *await muting_service.change_silence(
            session,
            principal,
            parse_id(silence_id, "silence"),
            collect_sent_fields(body),
            datetime.now(UTC),
            check=matching.on(_shown),
        )
    )


@router.post(
    "/{silence_id}/expire",
    summary="End a silence",
    operation_id="expire_silence",
    responses=document_problems(401, 403, 404),
)
async def expire_silence(principal: _Writer, session: WriteSessionDep, silence_id: str) -> SilenceOut:
    """End a silence now; what it muted and still fires is told within some seconds."""
    return SilenceOut.of(
        *await muting_service.expire_silence(
            session, principal, parse_id(silence_id, "silence"), datetime.now(UTC)
        )
    )


@router.delete(
    "/{silence_id}",
    status_code=204,
    summary="Delete a silence",
    operation_id="delete_silence",
    responses=document_problems(401, 403, 404),
)
async def delete_silence(
    principal: _Writer, session: WriteSessionDep, silence_id: str, matching: PreconditionDep
) -> None:
    """Remove a silence as if it had expired, and its record with it."""
    identifier = parse_id(silence_id, "silence")
    found = await muting_repository.find_silence(session, identifier, principal.visible(), lock=True)
    matching.check(_shown(found))
    await session.delete(found.silence)
    await session.flush()
