"""Serves `/v1/silences`: creates, lists, changes, ends and deletes silences."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.alerts import muting_api_queries, muting_service, repository
from app.alerts.alert_presentation import Presenter
from app.alerts.muting_api_queries import SILENCES, SilenceWithState
from app.alerts.muting_schemas import (
    SilenceChange,
    SilenceCreate,
    SilenceMade,
    SilenceOut,
    SilenceState,
)
from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertOut
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    ReaderDependency,
    ReadSessionDep,
    WriteSessionDep,
    make_page_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.dependencies import OrganisationFilter

router = APIRouter(prefix="/v1/silences", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read", whole=True))]
_Writer = Annotated[Principal, Depends(require_scope("alerts:write", whole=True))]


def _to_out(found: SilenceWithState) -> SilenceOut:
    return SilenceOut.of(*found)


@router.post("", status_code=201, summary="Create a silence", responses=document_problems(404))
async def create_silence(principal: _Writer, session: WriteSessionDep, body: SilenceCreate) -> SilenceMade:
    """Mute matching alerts for a time, or in the hours of a schedule.

    Muted alerts fire and resolve, but send no notifications. When nothing mutes an alert any more and it
    still fires, it notifies then. If it notified before it was muted, its resolution is sent even while it is
    muted. Alerts that fire already are muted within seconds; `matching_alerts` is their number. An
    organisation can have 500 pending or active silences (422 `too_many_silences`).
    """
    made = await muting_service.add_silence(session, principal, body, datetime.now(UTC))
    matching = await muting_api_queries.count_matching_alerts(session, made.silence.id)
    return SilenceMade.of(*made, matching_alerts=matching)


@router.get("", summary="List silences")
async def list_silences(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    state: Annotated[SilenceState | None, Query(description="Only those in this state now")] = None,
    site: Annotated[Identifier | None, Query(description="Only those whose matchers name this site")] = None,
    organisation: OrganisationFilter = None,
    query: Annotated[PageRequest, Depends(SILENCES.page_request)],
) -> Page[SilenceOut]:
    """List silences, including expired ones, by default the oldest first."""
    found = await muting_api_queries.list_silences(
        session, principal.visible(), query, state=state, site_id=site, organisation=organisation
    )
    rows, following = SILENCES.cut(found, query)
    return Page(data=[SilenceOut.of(*row) for row in rows], next=following)


@router.get("/{silence_id}", summary="Read a silence")
async def get_silence(principal: _Reader, session: ReadSessionDep, silence_id: str) -> SilenceOut:
    """Read one silence."""
    identifier = parse_id(silence_id, "silence")
    return SilenceOut.of(*await muting_api_queries.find_silence(session, identifier, principal.visible()))


@router.get("/{silence_id}/alerts", summary="List the alerts of a silence", response_model=Page[AlertOut])
async def list_silenced_alerts(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    reader: ReaderDependency,
    presenter: Presenter,
    silence_id: str,
    query: Annotated[PageRequest, Depends(repository.SILENCED.page_request)],
) -> Response:
    """List the firing alerts that a silence mutes now. The list is empty while the silence is not active."""
    identifier = parse_id(silence_id, "silence")
    silence = (await muting_api_queries.find_silence(session, identifier, principal.visible())).silence
    filter_ = AlertFilter(visible=TenantScope.of([silence.organisation_id]), silence_id=silence.id)
    found = await reader.fetch(repository.compile_alert_page(filter_, query, repository.SILENCED))
    rows, following = repository.SILENCED.cut(found, query)
    return make_page_response(await presenter.format_rows(rows), following)


@router.patch("/{silence_id}", summary="Change a silence", responses=document_problems(409))
async def update_silence(
    principal: _Writer,
    session: WriteSessionDep,
    silence_id: str,
    body: SilenceChange,
    matching: PreconditionDep,
) -> SilenceOut:
    """Change the given fields of a silence that has not expired. `matchers` are replaced as a whole."""
    return SilenceOut.of(
        *await muting_service.change_silence(
            session,
            principal,
            parse_id(silence_id, "silence"),
            collect_sent_fields(body),
            datetime.now(UTC),
            check=matching.on(_to_out),
        )
    )


@router.post("/{silence_id}/expire", summary="End a silence")
async def expire_silence(principal: _Writer, session: WriteSessionDep, silence_id: str) -> SilenceOut:
    """End a silence now. Alerts that it muted and that still fire notify within seconds."""
    return SilenceOut.of(
        *await muting_service.expire_silence(
            session, principal, parse_id(silence_id, "silence"), datetime.now(UTC)
        )
    )


@router.delete("/{silence_id}", status_code=204, summary="Delete a silence")
async def delete_silence(
    principal: _Writer, session: WriteSessionDep, silence_id: str, matching: PreconditionDep
) -> None:
    """Delete a silence. Alerts that it muted and that still fire notify within seconds."""
    identifier = parse_id(silence_id, "silence")
    found = await muting_api_queries.find_silence(session, identifier, principal.visible(), lock=True)
    matching.check(_to_out(found))
    await session.delete(found.silence)
    await session.flush()
