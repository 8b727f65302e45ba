"""REST for webhook endpoints and their deliveries.

Owns the HTTP side only: shapes, statuses, who may call. What wakes the dispatcher does so after the commit.
"""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.core.auth import Principal, requires
from app.core.database import Database, ReadSession
from app.core.errors import NotFoundError
from app.core.ids import parse_id
from app.core.pagination import Cursor, Limit, Page, cut, encode_cursor
from app.core.problems import documented
from app.core.sealing import Sealer
from app.core.settings import WebhookSettings
from app.core.strict_body import StrictRoute
from app.core.web import Reads, Writes, get_database
from app.webhooks import repository, service
from app.webhooks.models import Delivery, Endpoint
from app.webhooks.outbox import wake_after
from app.webhooks.repository import DELIVERIES, ENDPOINTS
from app.webhooks.schemas import (
    DeliveryDetail,
    DeliveryOut,
    EndpointChange,
    EndpointCreate,
    EndpointCreated,
    EndpointOut,
    SecretOut,
    State,
    TestOut,
)
from app.webhooks.secrets import seal_secret
from app.webhooks.signing import generate_secret
from app.webhooks.transport import message_id

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(requires("webhooks:read"))]
_Writer = Annotated[Principal, Depends(requires("webhooks:write"))]
_Holder = Annotated[Database, Depends(get_database)]


def _settings(request: Request) -> WebhookSettings:
    settings: WebhookSettings = request.app.state.settings.webhooks
    return settings


_Settings = Annotated[WebhookSettings, Depends(_settings)]


def _sealer(request: Request) -> Sealer:
    sealer: Sealer = request.app.state.sealer
    return sealer


_Sealer = Annotated[Sealer, Depends(_sealer)]


@router.post(
    "/webhooks",
    status_code=201,
    operation_id="create_webhook",
    summary="Register an endpoint",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def create_webhook(
    body: EndpointCreate, principal: _Writer, session: Writes, settings: _Settings, sealer: _Sealer
) -> EndpointCreated:
    """Have alerts posted to a URL of yours.

    Each POST is signed as Standard Webhooks 1.0 says, with the `secret` that is shown here and never again.
    The URL must be https and lead to a public address; redirects are not followed.
    """
    endpoint, secret = await service.add_endpoint(
        session,
        principal,
        body,
        allow_private=settings.allow_private,
        sealer=sealer,
        now=datetime.now(UTC),
    )
    return EndpointCreated(**EndpointOut.of(endpoint).model_dump(), secret=secret)


@router.get(
    "/webhooks",
    operation_id="list_webhooks",
    summary="List endpoints",
    responses=documented(401, 403, 422),
)
async def list_webhooks(
    *,
    principal: _Reader,
    session: Reads,
    limit: Limit = 100,
    cursor: Cursor = None,
    organisation: Annotated[UUID | None, Query(description="Of this organisation alone")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled ones")] = None,
) -> Page[EndpointOut]:
    """The oldest first. Secrets are not shown."""
    rows = await repository.list_endpoints(
        session, principal.visible(), cursor, limit, organisation=organisation, enabled=enabled
    )
    kept, following = cut(rows, limit, lambda row: encode_cursor(ENDPOINTS, str(row.id)))
    return Page(data=[EndpointOut.of(row) for row in kept], next=following)


@router.get(
    "/webhooks/{webhook}",
    operation_id="get_webhook",
    summary="Read an endpoint",
    responses=documented(401, 403, 404),
)
async def get_webhook(webhook: str, principal: _Reader, session: Reads) -> EndpointOut:
    """The secret is not shown."""
    return EndpointOut.of(await _endpoint(session, webhook, principal))


@router.patch(
    "/webhooks/{webhook}",
    operation_id="update_webhook",
    summary="Change an endpoint",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def update_webhook(
    webhook: str, body: EndpointChange, principal: _Writer, session: Writes, settings: _Settings
) -> EndpointOut:
    """Only what is given changes. What is pending for a disabled endpoint waits until it is enabled again.

    With another `grouping` what waits is sent at once, as it was put together so far.
    """
    endpoint = await service.get_endpoint(session, parse_id(webhook, "webhook"), principal, lock=True)
    await service.change_endpoint(
        session, endpoint, body, allow_private=settings.allow_private, now=datetime.now(UTC)
    )
    return EndpointOut.of(endpoint)


@router.delete(
    "/webhooks/{webhook}",
    status_code=204,
    operation_id="delete_webhook",
    summary="Delete an endpoint",
    responses=documented(401, 403, 404),
)
async def delete_webhook(webhook: str, principal: _Writer, session: Writes) -> Response:
    """Its deliveries go with it, also those that are pending, and what waits to be put together."""
    endpoint = await service.get_endpoint(session, parse_id(webhook, "webhook"), principal, lock=True)
    await session.delete(endpoint)
    await session.flush()
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook}/rotate-secret",
    operation_id="rotate_webhook_secret",
    summary="Replace an endpoint's secret",
    responses=documented(401, 403, 404),
)
async def rotate_secret(webhook: str, principal: _Writer, session: Writes, sealer: _Sealer) -> SecretOut:
    """From now on every attempt is signed with the new secret, also those of older events."""
    endpoint = await service.get_endpoint(session, parse_id(webhook, "webhook"), principal, lock=True)
    secret = generate_secret()
    endpoint.secret = seal_secret(sealer, endpoint.id, secret)
    endpoint.updated_at = datetime.now(UTC)
    await session.flush()
    return SecretOut(id=endpoint.id, secret=secret)


@router.post(
    "/webhooks/{webhook}/test",
    status_code=202,
    operation_id="test_webhook",
    summary="Send a test event",
    responses=documented(401, 403, 404, 409),
)
async def send_test(webhook: str, principal: _Writer, database: _Holder) -> TestOut:
    """Sends a `webhook.test` to this endpoint, whatever it subscribes to; its deliveries show what came."""
    async with database.write() as session:
        endpoint = await service.get_endpoint(session, parse_id(webhook, "webhook"), principal)
        event_id = await service.send_test(session, endpoint, datetime.now(UTC))
    await wake_after(database)
    return TestOut(event_id=event_id, webhook_id=message_id(event_id))


@router.get(
    "/webhooks/{webhook}/deliveries",
    operation_id="list_deliveries",
    summary="List an endpoint's deliveries",
    responses=documented(401, 403, 404, 422),
)
async def list_deliveries(
    *,
    webhook: str,
    principal: _Reader,
    session: Reads,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Annotated[State | None, Query(description="Only those in this state")] = None,
) -> Page[DeliveryOut]:
    """The newest first, each with all of its attempts."""
    endpoint = await _endpoint(session, webhook, principal)
    rows = await repository.list_deliveries(session, endpoint.id, cursor, limit, state=state)
    kept, following = cut(rows, limit, lambda row: encode_cursor(DELIVERIES, str(row.id)))
    attempts = await repository.attempts_of(session, [row.id for row in kept])
    return Page(data=[DeliveryOut.of(row, attempts.get(row.id, [])) for row in kept], next=following)


@router.get(
    "/deliveries/{delivery}",
    operation_id="get_delivery",
    summary="Read a delivery",
    responses=documented(401, 403, 404),
)
async def get_delivery(delivery: str, principal: _Reader, session: Reads) -> DeliveryDetail:
    """With the body that is sent, and all attempts."""
    identifier = parse_id(delivery, "delivery")
    row = _present(await repository.find_delivery(session, identifier, principal.visible()), delivery)
    attempts = await repository.attempts_of(session, [row.id])
    return DeliveryDetail.of(row, attempts.get(row.id, []))


@router.post(
    "/deliveries/{delivery}/replay",
    status_code=202,
    operation_id="replay_delivery",
    summary="Send a delivery again",
    responses=documented(401, 403, 404),
)
async def replay_delivery(delivery: str, principal: _Writer, database: _Holder) -> DeliveryOut:
    """Due now, whatever its state: the same body and `webhook-id`, and the retry schedule from its beginning.

    For a disabled endpoint it waits until that is enabled.
    """
    identifier = parse_id(delivery, "delivery")
    async with database.write() as session:
        row = _present(await repository.replay(session, identifier, principal.visible()), delivery)
        attempts = await repository.attempts_of(session, [row.id])
        replayed = DeliveryOut.of(row, attempts.get(row.id, []))
    await wake_after(database)
    return replayed


async def _endpoint(session: ReadSession, text: str, principal: Principal) -> Endpoint:
    identifier = parse_id(text, "webhook")
    endpoint = await repository.find_endpoint(session, identifier, principal.visible())
    if endpoint is None:
        raise NotFoundError("webhook", text)
    return endpoint


def _present(row: Delivery | None, text: str) -> Delivery:
    if row is None:
        raise NotFoundError("delivery", text)
    return row
