"""Serves grants to the organisation that gives them: offers, changes, revocation, keys and uses."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from app.audit.audit_recorder import AccessedSubject, record_access
from app.grants import grant_uses, repository, service
from app.grants.models import Grant, GrantState
from app.grants.schemas import (
    GrantAcceptanceOut,
    GrantChange,
    GrantCreate,
    GrantKeyOut,
    GrantLink,
    GrantOut,
    GrantUseOut,
    GrantWithLink,
)
from app.grants.settings import GrantSettings
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.runtime.stored_settings import InstallationDependency, InstallationSettings
from app.registry import box_service
from app.registry.dependencies import NameFilter, OrganisationFilter

GRANT_PAGE: Final = "/grant"
"""The page that a link leads to."""

router: Final = APIRouter(prefix="/v1/grants", tags=["Grants"], route_class=StrictRoute)
GrantsReader = Annotated[Principal, Depends(require_scope("grants:read"))]
GrantsWriter = Annotated[Principal, Depends(require_scope("grants:write"))]
GrantSettingsDependency = Annotated[GrantSettings, Depends(make_resource_dependency(GrantSettings))]
_Page = Annotated[PageRequest, Depends(repository.GRANTS.page_request)]


def _show_with_link(
    grant: Grant, token: str | None, installation: InstallationSettings, now: datetime
) -> GrantWithLink:
    link = None
    if token is not None and grant.link_expires_at is not None:
        url = f"{installation.base_url}{GRANT_PAGE}#{token}"
        link = GrantLink(token=token, url=url, expires_at=grant.link_expires_at)
    return GrantWithLink(**GrantOut.of(grant, now).model_dump(), link=link)


@router.post("", summary="Create a grant", status_code=201, responses=document_problems(404))
async def create_grant(
    body: GrantCreate,
    principal: GrantsWriter,
    session: WriteSessionDep,
    installation: InstallationDependency,
    settings: GrantSettingsDependency,
) -> GrantWithLink:
    """Offer a third party the measurements of some sites and metrics, for a purpose and a time.

    The response shows a link once: pass it on. A person of the recipient reads what is granted there, accepts
    the terms, and gets a key. The key opens only the calls that the guide to grants lists.
    """
    now = datetime.now(UTC)
    organisation = await box_service.resolve_organisation(session, principal, body.organisation_id)
    lifetime = timedelta(days=settings.link_days)
    grant, token = await service.create_grant(session, body, organisation.id, now, lifetime)
    return _show_with_link(grant, token, installation, now)


@router.get("", summary="List grants")
async def list_grants(
    principal: GrantsReader,
    session: WriteSessionDep,
    page_request: _Page,
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only grants that include this site")] = None,
    state: Annotated[GrantState | None, Query(description="Only grants in this state")] = None,
    q: NameFilter = None,
) -> Page[GrantOut]:
    """List grants, by default the newest first. The audit log records each reading: grants have contacts."""
    rows = await repository.list_grants(
        session,
        principal.visible(),
        page_request,
        organisation=organisation,
        site=site,
        state=state,
        search=q,
    )
    page, following = repository.GRANTS.cut(rows, page_request)
    await record_access(session, "grant", [AccessedSubject(each.organisation_id, each.id) for each in page])
    now = datetime.now(UTC)
    return Page(data=[GrantOut.of(each, now) for each in page], next=following)


@router.get("/{grant_id}", summary="Read a grant")
async def get_grant(grant_id: str, principal: GrantsReader, session: WriteSessionDep) -> GrantOut:
    """Read a grant. The audit log records it, as the grant has a contact."""
    grant = await repository.get_grant(session, grant_id, principal.visible())
    await record_access(session, "grant", [AccessedSubject(grant.organisation_id, grant.id)])
    return GrantOut.of(grant, datetime.now(UTC))


@router.patch("/{grant_id}", summary="Change a grant", responses=document_problems(409))
async def update_grant(
    *,
    grant_id: str,
    body: GrantChange,
    principal: GrantsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
    installation: InstallationDependency,
    settings: GrantSettingsDependency,
) -> GrantWithLink:
    """Change the given fields.

    What makes an accepted grant narrower applies at once. What makes it wider, other terms and another
    purpose wait in `offered` until the recipient accepts them by the link that the response then shows.
    `suspended` stops all reads until it is false again.
    """
    now = datetime.now(UTC)
    grant = await repository.get_grant(session, grant_id, principal.visible(), lock=True)
    matching.check(GrantOut.of(grant, now))
    lifetime = timedelta(days=settings.link_days)
    token = await service.change_grant(session, grant, body, now, lifetime)
    return _show_with_link(grant, token, installation, now)


@router.delete("/{grant_id}", summary="Revoke a grant", status_code=204)
async def revoke_grant(
    grant_id: str, principal: GrantsWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Revoke a grant for ever. Its keys open nothing from the next call on; running exports and streams end.

    The grant stays in the list, with its acceptances and uses.
    """
    now = datetime.now(UTC)
    grant = await repository.get_grant(session, grant_id, principal.visible(), lock=True)
    matching.check(GrantOut.of(grant, now))
    service.revoke_grant(grant, now)
    await session.flush()


@router.post(
    "/{grant_id}/link",
    operation_id="create_grant_link",
    summary="Create a new link of a grant",
    status_code=201,
    responses=document_problems(409),
)
async def create_grant_link(
    grant_id: str,
    principal: GrantsWriter,
    session: WriteSessionDep,
    installation: InstallationDependency,
    settings: GrantSettingsDependency,
) -> GrantWithLink:
    """Replace the link of a grant, for example if it was lost or the recipient lost its key."""
    now = datetime.now(UTC)
    grant = await repository.get_grant(session, grant_id, principal.visible(), lock=True)
    token = service.renew_link(grant, now, timedelta(days=settings.link_days))
    await session.flush()
    return _show_with_link(grant, token, installation, now)


@router.get("/{grant_id}/keys", operation_id="list_grant_keys", summary="List the keys of a grant")
async def list_grant_keys(
    grant_id: str, principal: GrantsReader, session: ReadSessionDep
) -> Page[GrantKeyOut]:
    """List the keys of a grant, also revoked ones. The keys themselves are not shown."""
    grant = await repository.get_grant(session, grant_id, principal.visible())
    rows = await repository.list_grant_keys(session, grant.id)
    return Page(data=[GrantKeyOut.of(row) for row in rows], next=None)


@router.delete(
    "/{grant_id}/keys/{grant_key_id}",
    operation_id="revoke_grant_key",
    summary="Revoke a key of a grant",
    status_code=204,
)
async def revoke_grant_key(
    grant_id: str, grant_key_id: str, principal: GrantsWriter, session: WriteSessionDep
) -> None:
    """Revoke one key. The grant stays, and the recipient may create another key."""
    grant = await repository.get_grant(session, grant_id, principal.visible(), lock=True)
    await repository.revoke_key(session, grant.id, grant_key_id, datetime.now(UTC))


@router.get(
    "/{grant_id}/acceptances",
    operation_id="list_grant_acceptances",
    summary="List the acceptances of a grant",
)
async def list_grant_acceptances(
    grant_id: str, principal: GrantsReader, session: WriteSessionDep
) -> Page[GrantAcceptanceOut]:
    """List who accepted what and when, the oldest first. The audit log records it."""
    grant = await repository.get_grant(session, grant_id, principal.visible())
    rows = await repository.list_acceptances(session, grant.id)
    await record_access(session, "grant", [AccessedSubject(grant.organisation_id, grant.id)])
    return Page(data=[GrantAcceptanceOut.of(row) for row in rows], next=None)


@router.get("/{grant_id}/uses", operation_id="list_grant_uses", summary="List the uses of a grant")
async def list_grant_uses(
    grant_id: str,
    principal: GrantsReader,
    session: ReadSessionDep,
    page_request: Annotated[PageRequest, Depends(grant_uses.GRANT_USES.page_request)],
) -> Page[GrantUseOut]:
    """List what was read by a grant, by hour, key and kind of read; the newest first by default."""
    grant = await repository.get_grant(session, grant_id, principal.visible())
    rows = await grant_uses.list_grant_uses(session, grant.id, page_request)
    page, following = grant_uses.GRANT_USES.cut(rows, page_request)
    return Page(data=[GrantUseOut.of(row) for row in page], next=following)
