"""Serves `/v1/inhibitions`: creates, lists, changes and deletes inhibitions."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from app.alerts import muting_api_queries, muting_service
from app.alerts.muting_api_queries import INHIBITIONS
from app.alerts.muting_schemas import InhibitionChange, InhibitionCreate, InhibitionOut
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import OrganisationFilter

router = APIRouter(prefix="/v1/inhibitions", tags=["Alerts"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("alerts:read", whole=True))]
_Writer = Annotated[Principal, Depends(require_scope("alerts:write", whole=True))]


@router.post("", status_code=201, summary="Create an inhibition", responses=document_problems(404))
async def create_inhibition(
    principal: _Writer, session: WriteSessionDep, body: InhibitionCreate
) -> InhibitionOut:
    """Mute alerts that match `target` while an alert fires that matches `source`.

    Muted alerts send no notifications. Alerts of dry-run rules mute nothing. Alerts that match both sides do
    not mute each other. If inhibitions form a cycle, the more severe alert mutes the other one; of equal
    severities, the older one does. An organisation can have 100 inhibitions (422 `too_many_inhibitions`).
    """
    return InhibitionOut.of(await muting_service.add_inhibition(session, principal, body, datetime.now(UTC)))


@router.get("", summary="List inhibitions")
async def list_inhibitions(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    organisation: OrganisationFilter = None,
    query: Annotated[PageRequest, Depends(INHIBITIONS.page_request)],
) -> Page[InhibitionOut]:
    """List inhibitions, by default the oldest first."""
    found = await muting_api_queries.list_inhibitions(
        session, principal.visible(), query, organisation=organisation
    )
    rows, following = INHIBITIONS.cut(found, query)
    return Page(data=[InhibitionOut.of(row) for row in rows], next=following)


@router.get("/{inhibition_id}", summary="Read an inhibition")
async def get_inhibition(principal: _Reader, session: ReadSessionDep, inhibition_id: str) -> InhibitionOut:
    """Read one inhibition."""
    identifier = parse_id(inhibition_id, "inhibition")
    return InhibitionOut.of(
        await muting_api_queries.find_inhibition(session, identifier, principal.visible())
    )


@router.patch("/{inhibition_id}", summary="Change an inhibition")
async def update_inhibition(
    principal: _Writer,
    session: WriteSessionDep,
    inhibition_id: str,
    body: InhibitionChange,
    matching: PreconditionDep,
) -> InhibitionOut:
    """Change the given fields. `source` and `target` are replaced as a whole."""
    return InhibitionOut.of(
        await muting_service.change_inhibition(
            session,
            principal,
            parse_id(inhibition_id, "inhibition"),
            collect_sent_fields(body),
            datetime.now(UTC),
            check=matching.on(InhibitionOut.of),
        )
    )


@router.delete("/{inhibition_id}", status_code=204, summary="Delete an inhibition")
async def delete_inhibition(
    principal: _Writer, session: WriteSessionDep, inhibition_id: str, matching: PreconditionDep
) -> None:
    """Delete an inhibition. Alerts that it muted and that still fire notify within seconds."""
    identifier = parse_id(inhibition_id, "inhibition")
    found = await muting_api_queries.find_inhibition(session, identifier, principal.visible(), lock=True)
    matching.check(InhibitionOut.of(found))
    await session.delete(found)
    await session.flush()
