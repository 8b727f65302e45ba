"""Serves `/v1/measurement-subscriptions`: sends measurements to a sink as soon as they are stored."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Query

from app.measurement_stream.subscriptions import batch_service, service, subscription_queries
from app.measurement_stream.subscriptions.batch_schemas import BatchOut, BatchState
from app.measurement_stream.subscriptions.models import MeasurementSubscription
from app.measurement_stream.subscriptions.schemas import (
    SubscriptionChange,
    SubscriptionCreate,
    SubscriptionCreated,
    SubscriptionOut,
    SubscriptionRewind,
    SubscriptionState,
)
from app.measurement_stream.subscriptions.sink_configuration import SinkRules
from app.measurement_stream.subscriptions.subscription_examples import EXAMPLES
from app.measurement_stream.subscriptions.subscription_queries import BATCHES, SUBSCRIPTIONS
from app.notifications.api.dependencies import PublicUrl, WebhookSettingsDependency
from app.notifications.api.webhook_schemas import ROTATIONS, SecretOut, SecretRotate
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    ReadSessionDep,
    SealerDependency,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.platform.secrets.sealing import SecretSealer
from app.registry.dependencies import OrganisationFilter

_TAG: Final = "Measurement subscriptions"
_NOUN: Final = "measurement subscription"
router: Final = APIRouter(prefix="/v1/measurement-subscriptions", tags=[_TAG], route_class=StrictRoute)
batches: Final = APIRouter(prefix="/v1/measurement-batches", tags=[_TAG], route_class=StrictRoute)

_Reader = Annotated[Principal, Depends(require_scope("webhooks:read"))]
_Writer = Annotated[Principal, Depends(require_scope("webhooks:write"))]


async def _rules(
    settings: WebhookSettingsDependency, public_url: PublicUrl, sealer: SealerDependency
) -> SinkRules:
    return SinkRules(settings.allow_private, public_url, sealer, settings.allows_kafka)


_Rules = Annotated[SinkRules, Depends(_rules)]


async def _lock(session: WriteSession, principal: Principal, subscription_id: str) -> MeasurementSubscription:
    identifier = parse_id(subscription_id, _NOUN)
    return await subscription_queries.get_subscription(session, identifier, principal.visible(), lock=True)


def _present(row: MeasurementSubscription, sealer: SecretSealer) -> SubscriptionOut:
    return service.present_subscription(row, sealer, datetime.now(UTC))


@router.post("", status_code=201, summary="Subscribe to measurements", responses=document_problems(404, 409))
async def create_measurement_subscription(
    principal: _Writer,
    session: WriteSessionDep,
    rules: _Rules,
    body: Annotated[SubscriptionCreate, Body(openapi_examples=EXAMPLES)],
) -> SubscriptionCreated:
    """Send every item of the measurement stream that matches the filter to a sink, in order, at least once.

    The subscription reads with your access, so you need `telemetry:read` too; it is checked again before each
    batch. Item ids make it idempotent. Only public hosts are allowed. The `secret` of a webhook is shown only
    here. An organisation can have 50 subscriptions (422 `too_many_subscriptions`). A sink of the kind `mqtt`
    needs a channel of that kind first (409 `mqtt_account_missing`).
    """
    row = await service.add_subscription(session, principal, body, rules, datetime.now(UTC))
    shown = _present(row, rules.sealer)
    return SubscriptionCreated(**shown.model_dump(), secret=service.read_signing_secret(row, rules.sealer))


@router.get("", summary="List subscriptions to measurements")
async def list_measurement_subscriptions(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    sealer: SealerDependency,
    page: Annotated[PageRequest, Depends(SUBSCRIPTIONS.page_request)],
    organisation: OrganisationFilter = None,
    state: Annotated[SubscriptionState | None, Query(description="Only in this state")] = None,
) -> Page[SubscriptionOut]:
    """Oldest first by default. Secrets are not shown."""
    found = await subscription_queries.list_subscriptions(
        session, principal.visible(), page, organisation=organisation, state=state
    )
    rows, following = SUBSCRIPTIONS.cut(found, page)
    return Page(data=[_present(row, sealer) for row in rows], next=following)


@router.get("/{subscription_id}", summary="Read a subscription to measurements")
async def get_measurement_subscription(
    principal: _Reader, session: ReadSessionDep, sealer: SealerDependency, subscription_id: str
) -> SubscriptionOut:
    """With its cursor and the health of its sink. Secrets are not shown."""
    row = await subscription_queries.get_subscription(
        session, parse_id(subscription_id, _NOUN), principal.visible()
    )
    return _present(row, sealer)


@router.patch("/{subscription_id}", summary="Change a subscription to measurements")
async def update_measurement_subscription(
    *,
    principal: _Writer,
    session: WriteSessionDep,
    rules: _Rules,
    subscription_id: str,
    body: SubscriptionChange,
    matching: PreconditionDep,
) -> SubscriptionOut:
    """Change the given fields. It reads with your access from then on.

    If `filter`, `format` or the `size` of `batch` changes, batches that were not confirmed are withdrawn, and
    their items come in batches with other ids. After other changes they come under the same ids.
    """
    row = await _lock(session, principal, subscription_id)
    matching.check(_present(row, rules.sealer))
    await service.change_subscription(session, principal, row, body, rules=rules, now=datetime.now(UTC))
    return _present(row, rules.sealer)


@router.delete("/{subscription_id}", status_code=204, summary="Delete a subscription to measurements")
async def delete_measurement_subscription(
    principal: _Writer,
    session: WriteSessionDep,
    sealer: SealerDependency,
    subscription_id: str,
    matching: PreconditionDep,
) -> None:
    """Delete a subscription with the log of its batches. A batch that is being sent may still arrive."""
    row = await _lock(session, principal, subscription_id)
    matching.check(_present(row, sealer))
    await session.delete(row)
    await session.flush()


@router.post("/{subscription_id}/pause", summary="Pause a subscription to measurements")
async def pause_measurement_subscription(
    principal: _Writer, session: WriteSessionDep, sealer: SealerDependency, subscription_id: str
) -> SubscriptionOut:
    """Send nothing more after the running attempt, until it is resumed. A disabled one stays disabled."""
    row = await _lock(session, principal, subscription_id)
    await service.pause_subscription(session, row, datetime.now(UTC))
    return _present(row, sealer)


@router.post("/{subscription_id}/resume", summary="Resume a subscription to measurements")
async def resume_measurement_subscription(
    principal: _Writer, session: WriteSessionDep, sealer: SealerDependency, subscription_id: str
) -> SubscriptionOut:
    """Continue at the cursor, after a pause or after Vigie disabled it.

    The subscription reads with your access from now on. The next attempt follows at once. What is no longer
    in the stream is left out: read it with `GET /v1/readings/export`.
    """
    row = await _lock(session, principal, subscription_id)
    await service.resume_subscription(session, principal, row, datetime.now(UTC))
    return _present(row, sealer)


@router.post("/{subscription_id}/rewind", summary="Rewind a subscription to measurements")
async def rewind_measurement_subscription(
    *,
    principal: _Writer,
    session: WriteSessionDep,
    sealer: SealerDependency,
    subscription_id: str,
    body: SubscriptionRewind,
) -> SubscriptionOut:
    """Continue at a time or after an item, back or forward. Items that are sent again have the same ids.

    The stream has what was stored in the last days (`VIGIE_MEASUREMENT_STREAM__KEEP_DAYS`).
    """
    row = await _lock(session, principal, subscription_id)
    await service.rewind_subscription(session, row, body, datetime.now(UTC))
    return _present(row, sealer)


@router.post(
    "/{subscription_id}/rotate-secret",
    summary="Replace the secret of a subscription's webhook",
    responses=document_problems(409),
)
async def rotate_measurement_subscription_secret(
    *,
    principal: _Writer,
    session: WriteSessionDep,
    sealer: SealerDependency,
    subscription_id: str,
    body: Annotated[SecretRotate | None, Body(openapi_examples=ROTATIONS)] = None,
) -> SecretOut:
    """Replace the secret. Later batches and replays are signed with the new one.

    During the `overlap` (a day by default) the former secrets sign too: `webhook-signature` then contains
    several signatures, and receivers with an old or the new secret can verify the batch. At most five former
    secrets may sign concurrently (409 `too_many_secrets`).
    """
    row = await _lock(session, principal, subscription_id)
    secret, until = await service.rotate_secret(
        session, row, body or SecretRotate(), sealer, datetime.now(UTC)
    )
    return SecretOut(id=row.id, secret=secret, former_expire_at=until)


@router.post(
    "/{subscription_id}/test",
    status_code=202,
    summary="Test the sink of a subscription",
    responses=document_problems(409, 429),
)
async def test_measurement_subscription(
    principal: _Writer, session: WriteSessionDep, subscription_id: str
) -> BatchOut:
    """Send a batch without items: a webhook gets a signed body, and other sinks are connected to.

    `GET /v1/measurement-batches/{batch_id}` shows the outcome. At most ten tests a minute (429
    `too_many_tests`).
    """
    row = await _lock(session, principal, subscription_id)
    batch = await batch_service.add_test_batch(session, row, datetime.now(UTC))
    return BatchOut.of(batch, row.sink)


@router.get("/{subscription_id}/batches", summary="List the batches of a subscription")
async def list_measurement_batches(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    subscription_id: str,
    page: Annotated[PageRequest, Depends(BATCHES.page_request)],
    state: Annotated[BatchState | None, Query(description="Only in this state")] = None,
) -> Page[BatchOut]:
    """Newest first by default, with their attempts. The newest 5,000 are stored, for 30 days by default."""
    row = await subscription_queries.get_subscription(
        session, parse_id(subscription_id, _NOUN), principal.visible()
    )
    found = await subscription_queries.list_batches(session, row.id, page, state=state)
    rows, following = BATCHES.cut(found, page)
    return Page(data=[BatchOut.of(each, row.sink) for each in rows], next=following)


@batches.get("/{batch_id}", summary="Read a batch of measurements")
async def get_measurement_batch(principal: _Reader, session: ReadSessionDep, batch_id: str) -> BatchOut:
    """With its last attempts. The log names its items by id, and stores no values."""
    identifier = parse_id(batch_id, "measurement batch")
    batch = await subscription_queries.get_batch(session, identifier, principal.visible())
    row = await subscription_queries.get_subscription(session, batch.subscription_id, principal.visible())
    return BatchOut.of(batch, row.sink)


@batches.post(
    "/{batch_id}/replay",
    status_code=202,
    summary="Send a batch of measurements again",
    responses=document_problems(409),
)
async def replay_measurement_batch(principal: _Writer, session: WriteSessionDep, batch_id: str) -> BatchOut:
    """Send the same items again under the same id. The values are read again, with the present access.

    What was erased, or whose purpose has ended, is left out. If more items of its range may be seen now than
    fit a batch, those after the first ones are left out, and `detail` of the attempt names the last one that
    was sent. The cursor of the subscription stays. If items of the batch are no longer in the stream
    (`VIGIE_MEASUREMENT_STREAM__KEEP_DAYS`), the response is 409 `batch_expired`.
    """
    identifier = parse_id(batch_id, "measurement batch")
    known = await subscription_queries.get_batch(session, identifier, principal.visible())
    row = await subscription_queries.get_subscription(
        session, known.subscription_id, principal.visible(), lock=True
    )
    batch = await subscription_queries.get_batch(session, identifier, principal.visible(), lock=True)
    await batch_service.replay_batch(session, row, batch, datetime.now(UTC))
    return BatchOut.of(batch, row.sink)
