"""Serves portal links, and what they open: a webhook's health, deliveries and attempts, read-only.

A link's token works below `/v1/portal` alone, and for one webhook. Resources of other webhooks look as if
they did not exist.
"""

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.notifications.api import delivery_queries, health_queries, portal_links, webhook_service
from app.notifications.api.deliveries_router import (
    DeliveryPageQuery,
    DeliveryQueryDependency,
    read_delivery_page,
)
from app.notifications.api.delivery_schemas import SHOWN_ATTEMPTS, DeliveryDetail, DeliveryOut
from app.notifications.api.dependencies import Reader, Writer
from app.notifications.api.endpoint_fields import build_duration_validator
from app.notifications.api.health_queries import HealthOut
from app.notifications.api.portal_links import BearerToken, OpenedPortal
from app.notifications.api.portal_schemas import (
    PortalLinkCreate,
    PortalLinkCreated,
    PortalLinkOut,
    PortalOut,
)
from app.notifications.delivery.models import PortalLink
from app.platform.http.contract.fields import DURATION
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.runtime.stored_settings import InstallationDependency

PORTAL_PAGE: Final = "/console/portal"
"""The page that a link leads to."""

router: Final = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)
_Page = Annotated[PageRequest, Depends(portal_links.PORTAL_LINKS.page_request)]


@router.post(
    "/webhooks/{webhook}/portal-links",
    status_code=201,
    operation_id="create_portal_link",
    summary="Create a portal link",
    responses=document_problems(409),
)
async def create_portal_link(
    webhook: str,
    body: PortalLinkCreate,
    principal: Writer,
    session: WriteSessionDep,
    installation: InstallationDependency,
) -> PortalLinkCreated:
    """Create a link for the developers of your receiver, who need no account.

    It opens the health, the deliveries and the attempts of this webhook, without secrets, and changes
    nothing. Whoever has the link can read the bodies of its events. The response shows the token once.
    """
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal, hold=True)
    row, token = await portal_links.create_portal_link(session, endpoint, body, datetime.now(UTC))
    shown = PortalLinkOut.of(row).model_dump()
    return PortalLinkCreated(**shown, token=token, url=f"{installation.base_url}{PORTAL_PAGE}#{token}")


@router.get("/webhooks/{webhook}/portal-links", operation_id="list_portal_links", summary="List portal links")
async def list_portal_links(
    webhook: str, principal: Reader, session: ReadSessionDep, page: _Page
) -> Page[PortalLinkOut]:
    """List the links of a webhook, also expired ones. Tokens are not shown."""
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal)
    rows = await portal_links.list_portal_links(session, endpoint.id, page)
    shown, following = portal_links.PORTAL_LINKS.cut(rows, page)
    return Page(data=[PortalLinkOut.of(row) for row in shown], next=following)


@router.delete(
    "/webhooks/{webhook}/portal-links/{portal_link}",
    status_code=204,
    operation_id="delete_portal_link",
    summary="Delete a portal link",
)
async def delete_portal_link(
    webhook: str, portal_link: str, principal: Writer, session: WriteSessionDep
) -> Response:
    """Delete a link. It opens nothing from now on."""
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal)
    row = await session.get(PortalLink, parse_id(portal_link, "portal link"))
    if row is None or row.endpoint_id != endpoint.id:
        raise NotFoundError("portal link", portal_link)
    await session.delete(row)
    await session.flush()
    return Response(status_code=204)


async def _portal(token: BearerToken, database: DatabaseDependency) -> OpenedPortal:
    given = None if token is None else token.credentials
    return await portal_links.open_portal(database, given, datetime.now(UTC))


Portal = Annotated[OpenedPortal, Depends(_portal)]
"""What the token of a request opens, for routes below `/v1/portal`."""


@router.get(
    "/portal",
    operation_id="get_portal",
    summary="Read what a portal link opens",
    responses=document_problems(401),
)
async def get_portal(portal: Portal) -> PortalOut:
    """Read the webhook of the link. Its secret and the values of its headers are not shown."""
    return PortalOut.of(portal.link, portal.endpoint)


@router.get(
    "/portal/health",
    operation_id="get_portal_health",
    summary="Read the health of a portal's webhook",
    responses=document_problems(401, 422),
)
async def get_portal_health(
    portal: Portal,
    database: DatabaseDependency,
    window: Annotated[
        str,
        build_duration_validator(
            health_queries.LONGEST_S,
            "7 days",
            shortest_s=health_queries.SHORTEST_S,
            shortest_called="an hour",
        ),
        DURATION,
        Query(description="The window in which attempts are counted: ISO 8601, PT1H to P7D"),
    ] = "P1D",
) -> HealthOut:
    """Recent attempts, their durations, and what stops deliveries."""
    async with database.read() as session:
        return await health_queries.read_endpoint_health(session, portal.endpoint, window)


@router.get(
    "/portal/deliveries",
    operation_id="list_portal_deliveries",
    summary="List the deliveries of a portal's webhook",
    responses=document_problems(401, 422),
)
async def list_portal_deliveries(
    portal: Portal, database: DatabaseDependency, query: DeliveryQueryDependency, page: DeliveryPageQuery
) -> Page[DeliveryOut]:
    """List deliveries with their last attempts, the newest first by default."""
    filters = query.filters(endpoint=portal.endpoint.id)
    async with database.read() as session:
        return await read_delivery_page(session, portal.scope, filters, page)


@router.get(
    "/portal/deliveries/{delivery}",
    operation_id="get_portal_delivery",
    summary="Read a delivery of a portal's webhook",
    responses=document_problems(401, 404, 422),
)
async def get_portal_delivery(portal: Portal, database: DatabaseDependency, delivery: str) -> DeliveryDetail:
    """Includes the body that is sent and the last attempts."""
    identifier: UUID = parse_id(delivery, "delivery")
    async with database.read() as session:
        found = await delivery_queries.find_delivery(session, identifier, portal.scope)
        if found is None or found[0].endpoint_id != portal.endpoint.id:
            raise NotFoundError("delivery", delivery)
        attempts = await delivery_queries.find_last_attempts(session, [identifier], SHOWN_ATTEMPTS)
        return DeliveryDetail.of(found[0], found[1], attempts.get(identifier, []))
