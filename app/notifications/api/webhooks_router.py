"""Serves the REST API of webhooks: create, list, read, change, delete, and rotate the secret.

Their deliveries are served by `deliveries_router` and `replays_router`.
"""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Response

from app.notifications.api import endpoint_queries, webhook_service
from app.notifications.api.dependencies import (
    PublicUrl,
    Reader,
    WebhookSettingsDependency,
    Writer,
)
from app.notifications.api.endpoint_queries import ENDPOINTS
from app.notifications.api.webhook_schemas import (
    ROTATIONS,
    EndpointChange,
    EndpointCreate,
    EndpointCreated,
    EndpointOut,
    SecretOut,
    SecretRotate,
)
from app.notifications.delivery import endpoint_deliveries_deletion
from app.notifications.delivery.models import Endpoint
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    SealerDependency,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import DefaultQuotas
from app.registry.quota_service import check_quota

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)


@router.post("/webhooks", status_code=201, summary="Register an endpoint", responses=document_problems(404))
async def create_webhook(
    *,
    body: EndpointCreate,
    principal: Writer,
    session: WriteSessionDep,
    settings: WebhookSettingsDependency,
    public_url: PublicUrl,
    sealer: SealerDependency,
    defaults: DefaultQuotas,
) -> EndpointCreated:
    """Vigie posts alerts to your URL.

    Each POST is signed according to Standard Webhooks 1.0, with the `secret`, which is shown only here. The
    URL must be https and resolve to a public address; redirects are not followed.
    """
    now = datetime.now(UTC)
    endpoint, secret = await webhook_service.add_webhook(
        session,
        principal,
        body,
        allow_private=settings.allow_private,
        public_url=public_url,
        sealer=sealer,
        now=now,
    )
    await check_quota(session, "webhooks", {endpoint.organisation_id: 1}, defaults, principal.visible())
    return EndpointCreated(
        **webhook_service.present_webhook(endpoint, sealer, now).model_dump(), secret=secret
    )


@router.get("/webhooks", summary="List endpoints")
async def list_webhooks(
    *,
    principal: Reader,
    session: ReadSessionDep,
    sealer: SealerDependency,
    page: Annotated[PageRequest, Depends(ENDPOINTS.page_request)],
    organisation: Annotated[UUID | None, Query(description="Only webhooks of this organisation")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled or only disabled webhooks")] = None,
) -> Page[EndpointOut]:
    """Oldest first by default. Secrets and values of headers are not shown."""
    rows = await endpoint_queries.list_endpoints(
        session, principal.visible(), page, organisation=organisation, enabled=enabled
    )
    shown, following = ENDPOINTS.cut(rows, page)
    now = datetime.now(UTC)
    return Page(data=[webhook_service.present_webhook(row, sealer, now) for row in shown], next=following)


@router.get("/webhooks/{webhook}", summary="Read an endpoint")
async def get_webhook(
    webhook: str, principal: Reader, session: ReadSessionDep, sealer: SealerDependency
) -> EndpointOut:
    """The secret and the values of headers are not shown."""
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal)
    return webhook_service.present_webhook(endpoint, sealer, datetime.now(UTC))


@router.patch("/webhooks/{webhook}", summary="Change an endpoint")
async def update_webhook(
    *,
    webhook: str,
    body: EndpointChange,
    principal: Writer,
    session: WriteSessionDep,
    settings: WebhookSettingsDependency,
    public_url: PublicUrl,
    sealer: SealerDependency,
    matching: PreconditionDep,
) -> EndpointOut:
    """Changes only the fields in the body. Deliveries of a disabled endpoint wait until it is enabled again.

    If `grouping` changes, waiting groups are sent immediately, with the alerts that they have so far. A new
    `format` applies to future deliveries. Enabling an endpoint resets its failures and its `disabled_reason`.
    """
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal, lock=True)
    now = datetime.now(UTC)
    matching.check(webhook_service.present_webhook(endpoint, sealer, now))
    await webhook_service.change_webhook(
        session,
        endpoint,
        body,
        allow_private=settings.allow_private,
        public_url=public_url,
        sealer=sealer,
        now=now,
    )
    return webhook_service.present_webhook(endpoint, sealer, now)


@router.delete("/webhooks/{webhook}", status_code=204, summary="Delete an endpoint")
async def delete_webhook(
    webhook: str,
    principal: Writer,
    database: DatabaseDependency,
    sealer: SealerDependency,
    matching: PreconditionDep,
) -> Response:
    """Deletes the endpoint, all its deliveries, also pending ones, and its waiting groups.

    The endpoint is disabled first. With many deliveries the request takes a while.
    """
    identifier = parse_id(webhook, "webhook")

    def present(row: Endpoint) -> EndpointOut:
        return webhook_service.present_webhook(row, sealer, datetime.now(UTC))

    await endpoint_deliveries_deletion.empty_endpoint(
        database, identifier, principal, "webhook", matching.on(present)
    )
    async with database.write() as session:
        endpoint = await webhook_service.get_endpoint(session, identifier, principal, lock=True)
        await session.delete(endpoint)
        await session.flush()
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook}/rotate-secret",
    operation_id="rotate_webhook_secret",
    summary="Replace an endpoint's secret",
)
async def rotate_secret(
    webhook: str,
    principal: Writer,
    session: WriteSessionDep,
    sealer: SealerDependency,
    body: Annotated[SecretRotate | None, Body(openapi_examples=ROTATIONS)] = None,
) -> SecretOut:
    """Replace the secret. Later attempts are signed with the new one, also those of older events.

    During the `overlap` (a day by default) the former secrets sign too: `webhook-signature` then contains
    several signatures, and receivers with an old or the new secret can verify the request. At most five
    former secrets may sign concurrently (409 `too_many_secrets`).
    """
    endpoint = await webhook_service.get_endpoint(session, parse_id(webhook, "webhook"), principal, lock=True)
    secret, until = await webhook_service.rotate_secret(
        session, endpoint, body or SecretRotate(), sealer, datetime.now(UTC)
    )
    return SecretOut(id=endpoint.id, secret=secret, former_expire_at=until)
