"""Serves `/ngsi-ld/v1/subscriptions`: subscriptions to measurements with a webhook and the format `ngsi-ld`.

They share the log of batches, replays, signatures and limits of `/v1/measurement-subscriptions`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import func, select

from app.measurement_stream.formats.ngsi_ld import MEDIA_TYPE, make_subscription_id
from app.measurement_stream.subscriptions import service
from app.measurement_stream.subscriptions.models import MeasurementSubscription
from app.measurement_stream.subscriptions.sink_configuration import SinkRules
from app.ngsi_ld.query_parameters import MOST_SKIPPED, check_limit
from app.ngsi_ld.router import (
    PREFIX,
    TAG,
    Accept,
    NgsiLdRoute,
    add_count_and_next,
    document_answer,
    respond,
)
from app.ngsi_ld.subscription_mapping import FORMAT, map_subscription, present_subscription
from app.ngsi_ld.subscription_schemas import NgsiLdSubscriptionCreate
from app.notifications.api.dependencies import PublicUrl, WebhookSettingsDependency
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    ReadSessionDep,
    SealerDependency,
    WriteSessionDep,
)
from app.platform.http.contract.strict_body import MEDIA_TYPES
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id


class SubscriptionRoute(NgsiLdRoute):
    """A route whose body is JSON or JSON-LD, as the standard allows."""

    media_types: ClassVar[frozenset[str]] = MEDIA_TYPES | {MEDIA_TYPE}


router: Final = APIRouter(prefix=f"{PREFIX}/subscriptions", tags=[TAG], route_class=SubscriptionRoute)
_NOUN: Final = "subscription"
_ID_PREFIX: Final = "urn:ngsi-ld:Subscription:"
_Reader = Annotated[Principal, Depends(require_scope("webhooks:read"))]
_Writer = Annotated[Principal, Depends(require_scope("webhooks:write"))]
_SubscriptionId = Annotated[
    str,
    Path(
        description="The id of a subscription",
        examples=["urn:ngsi-ld:Subscription:0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"],
    ),
]

_SUBSCRIPTION: Final = {
    "id": "urn:ngsi-ld:Subscription:0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
    "type": "Subscription",
    "entities": [{"type": "AirQualityObserved"}],
    "notification": {"attributes": ["pm25"], "endpoint": {"uri": "https://example.com/notify"}},
}
_CREATED: Final = {**_SUBSCRIPTION, "secret": "whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"}


async def _find(
    session: ReadSession | WriteSession, principal: Principal, text: str, *, lock: bool = False
) -> MeasurementSubscription:
    """Find a subscription of this format (NotFoundError)."""
    identifier = parse_id(text.removeprefix(_ID_PREFIX), _NOUN)
    query = _select_visible(principal).where(MeasurementSubscription.id == identifier)
    row: MeasurementSubscription | None = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError(_NOUN, text)
    return row


def _select_visible(principal: Principal) -> Any:  # noqa: ANN401 (a statement)
    return select(MeasurementSubscription).where(
        *principal.visible().within(MeasurementSubscription.organisation_id),
        MeasurementSubscription.format == FORMAT,
    )


@router.post(
    "",
    operation_id="create_ngsi_ld_subscription",
    status_code=201,
    summary="NGSI-LD: subscribe to observations",
    response_class=Response,
    responses=document_answer(_CREATED, 404, 408, 413, 415, 422, status_code=201),
)
async def create_subscription(  # noqa: PLR0917 (dependencies)
    principal: _Writer,
    session: WriteSessionDep,
    settings: WebhookSettingsDependency,
    public_url: PublicUrl,
    sealer: SealerDependency,
    body: NgsiLdSubscriptionCreate,
    request: Request,
    accept: Accept = None,
) -> Response:
    """Post each committed sample to a URL, as a Notification of AirQualityObserved or NoiseLevelObserved.

    Notifications are signed by Standard Webhooks 1.0; the `secret` is shown only here. The subscription is
    also one of `/v1/measurement-subscriptions`, with its cursor, batches and replays. You need
    `telemetry:read` too. An organisation can have 50 subscriptions.
    """
    rules = SinkRules(settings.allow_private, public_url, sealer, settings.allows_kafka)
    row = await service.add_subscription(session, principal, map_subscription(body), rules, datetime.now(UTC))
    shown = {**present_subscription(row), "secret": service.read_signing_secret(row, sealer)}
    response = respond(request, principal, shown, accept, status_code=201)
    response.headers["Location"] = f"{PREFIX}/subscriptions/{make_subscription_id(row.id)}"
    return response


@router.get(
    "",
    operation_id="list_ngsi_ld_subscriptions",
    summary="NGSI-LD: subscriptions",
    response_class=Response,
    responses=document_answer([_SUBSCRIPTION]),
)
async def list_subscriptions(
    principal: _Reader,
    session: ReadSessionDep,
    request: Request,
    accept: Accept = None,
    *,
    limit: Annotated[
        int, Query(ge=0, le=1000, description="Subscriptions of a page; 0 only with `count`")
    ] = 100,
    offset: Annotated[int, Query(ge=0, le=MOST_SKIPPED, description="How many to leave out")] = 0,
    count: Annotated[bool, Query(description="`true` adds the header NGSILD-Results-Count")] = False,
) -> Response:
    """List the subscriptions that NGSI-LD can express, oldest first. Secrets are not shown.

    The header `Link` with `rel="next"` leads to the next page.
    """
    check_limit(limit, count=count)
    visible = _select_visible(principal)
    query = visible.order_by(MeasurementSubscription.id).limit(limit + 1).offset(offset)
    rows: Sequence[MeasurementSubscription] = (await session.scalars(query)).all()
    total = None
    if count:
        total = await session.scalar(select(func.count()).select_from(visible.subquery()))
    following = offset + limit if len(rows) > limit > 0 else None
    response = respond(request, principal, [present_subscription(row) for row in rows[:limit]], accept)
    add_count_and_next(request, response, total=total, following=following, limit=limit)
    return response


@router.get(
    "/{ngsi_ld_subscription_id}",
    operation_id="get_ngsi_ld_subscription",
    summary="NGSI-LD: a subscription",
    response_class=Response,
    responses=document_answer(_SUBSCRIPTION, 404),
)
async def get_subscription(
    principal: _Reader,
    session: ReadSessionDep,
    request: Request,
    ngsi_ld_subscription_id: _SubscriptionId,
    accept: Accept = None,
) -> Response:
    """Read a subscription with the health of its endpoint."""
    row = await _find(session, principal, ngsi_ld_subscription_id)
    return respond(request, principal, present_subscription(row), accept)


@router.delete(
    "/{ngsi_ld_subscription_id}",
    operation_id="delete_ngsi_ld_subscription",
    status_code=204,
    summary="NGSI-LD: end a subscription",
    responses=document_problems(403, 404),
)
async def delete_subscription(
    principal: _Writer, session: WriteSessionDep, ngsi_ld_subscription_id: _SubscriptionId
) -> None:
    """Delete a subscription with its log. A notification that is being sent may still arrive."""
    await session.delete(await _find(session, principal, ngsi_ld_subscription_id, lock=True))
    await session.flush()
