"""Creates, changes, pauses, resumes and rewinds subscriptions, in the caller's transaction.

Each of these ends the lease of the delivery process, whose later writes then have no effect.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.measurement_stream.item_reader import WHOLE_COMMIT
from app.measurement_stream.items import StreamPosition
from app.measurement_stream.sinks.sink_types import FORMER_SECRETS
from app.measurement_stream.subscriptions import subscription_queries
from app.measurement_stream.subscriptions.models import MeasurementSubscription
from app.measurement_stream.subscriptions.schemas import (
    SubscriptionChange,
    SubscriptionCreate,
    SubscriptionFilter,
    SubscriptionOut,
    SubscriptionRewind,
)
from app.measurement_stream.subscriptions.sink_configuration import (
    SinkRules,
    StoredSink,
    choose_format,
    configure_sink,
    open_secrets,
    seal_secrets,
)
from app.measurement_stream.subscriptions.sink_schemas import SinkCreate
from app.notifications.api.webhook_schemas import SecretRotate
from app.notifications.api.webhook_service import check_site_ownership
from app.notifications.delivery.endpoint_health import EndpointHealth
from app.notifications.http.webhook_secrets import list_ends, retire_secret
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.db.database import WriteSession, get_driver_connection
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SealingError, SecretSealer
from app.registry.box_service import resolve_organisation
from app.timeseries.commit_log.position_search import (
    find_newest_position,
    find_position_before,
)

MAX_SUBSCRIPTIONS: Final = 50
"""The most subscriptions of an organisation."""

# What determines the content of batches.
_CONTENT: Final = ("site_ids", "boxes", "metrics", "kinds", "format", "batch_size")
_READS_MEASUREMENTS: Final = require_scope("telemetry:read")
_log = get_logger(__name__)


async def add_subscription(
    session: WriteSession, principal: Principal, body: SubscriptionCreate, rules: SinkRules, now: datetime
) -> MeasurementSubscription:
    """Create a subscription.

    Args:
        session: The transaction.
        principal: The caller, with whose access the subscription reads.
        body: The new subscription.
        rules: The rules for addresses.
        now: The time of creation.

    Raises:
        ForbiddenError: The caller lacks `telemetry:read`.
        NotFoundError: The organisation, or one of the sites in it, does not exist.
        ConflictError: `mqtt_account_missing`.
        InvalidError: `too_many_subscriptions`, `foreign_organisation`, and those of `configure_sink`
            and `choose_format`.
        UnavailableError: `encryption_key_missing`.
    """
    _READS_MEASUREMENTS.check(principal)
    owner = await resolve_organisation(session, principal, body.organisation_id)
    if await subscription_queries.count_subscriptions(session, owner.id) >= MAX_SUBSCRIPTIONS:
        raise InvalidError(
            f"The organisation has {MAX_SUBSCRIPTIONS} subscriptions, which is the limit. Delete one, or "
            "change its filter.",
            code="too_many_subscriptions",
        )
    kind = body.sink.kind
    if kind == "mqtt" and not await subscription_queries.has_broker_account(session, owner.id):
        raise ConflictError(
            "The organisation has no account at the broker. Create a channel of the kind mqtt with "
            "`POST /v1/channels`: its account reads measurements too.",
            code="mqtt_account_missing",
        )
    await check_site_ownership(session, body.filter.site_ids, owner.id)
    identifier = new_id()
    stored = configure_sink(identifier, body.sink, rules, now)
    cursor = await _find_cursor(session, owner.id, body.start)
    row = MeasurementSubscription(
        id=identifier,
        organisation_id=owner.id,
        name=body.name,
        sink=kind,
        format=choose_format(kind, body.format, body.filter.kinds, gzip=body.gzip),
        target=stored.target,
        credentials=stored.credentials,
        batch_size=body.batch.size,
        max_age=body.batch.max_age,
        gzip=body.gzip,
        state="active",
        cursor_position=cursor.position,
        cursor_index=cursor.index,
        due_at=now,
        consecutive_failures=0,
        slow_step=0,
        items_sent=0,
        created_by=principal.key_id,
        created_by_kind=principal.kind,
        created_at=now,
        updated_at=now,
        **_filter_columns(body.filter),
    )
    session.add(row)
    await session.flush()
    return row


def _filter_columns(filter_: SubscriptionFilter) -> dict[str, Any]:
    return {name: getattr(filter_, name) for name in ("site_ids", "boxes", "metrics", "kinds")}


async def _find_cursor(session: WriteSession, organisation: UUID, since: datetime | None) -> StreamPosition:
    """Return the offset after what an organisation had stored up to a time; None: up to now."""
    connection = await get_driver_connection(session)
    if since is None:
        position = await find_newest_position(connection, organisation)
    else:
        position = await find_position_before(connection, organisation, since)
    return StreamPosition(position, WHOLE_COMMIT)


async def change_subscription(
    session: WriteSession,
    principal: Principal,
    row: MeasurementSubscription,
    change: SubscriptionChange,
    *,
    rules: SinkRules,
    now: datetime,
) -> None:
    """Change the given fields of a subscription; it reads with the caller's access from then on.

    Items after the cursor are sent by the new configuration, also those that an attempt has sent before. If
    it changes the content of batches, those that wait are withdrawn.

    Args:
        session: The transaction.
        principal: The caller.
        row: The subscription, locked.
        change: The given fields.
        rules: The rules for addresses.
        now: The time of the change.

    Raises:
        InvalidError: `sink_kind_fixed`, and as for a new one.
        ForbiddenError: The caller lacks `telemetry:read`.
        NotFoundError: One of the sites does not exist.
    """
    _READS_MEASUREMENTS.check(principal)
    fields = collect_sent_fields(change)
    content = _list_content(row)
    if "sink" in fields:
        _change_sink(row, change.sink, rules, now)
    if "filter" in fields:
        await check_site_ownership(session, change.filter.site_ids, row.organisation_id)
        for name, value in _filter_columns(change.filter).items():
            setattr(row, name, value)
    if "batch" in fields:
        row.batch_size, row.max_age = change.batch.size, change.batch.max_age
    for name in ("name", "format", "gzip"):
        if name in fields:
            setattr(row, name, fields[name])
    row.format = choose_format(row.sink, row.format, row.kinds, gzip=row.gzip)
    if fields:
        take_over(row, principal, now)
    if fields.keys() - {"name"}:
        row.size_limit = None
    if _list_content(row) != content:
        await subscription_queries.withdraw_pending_batches(session, row.id)
    await session.flush()


def _change_sink(row: MeasurementSubscription, sink: SinkCreate, rules: SinkRules, now: datetime) -> None:
    if sink.kind != row.sink:
        raise InvalidError(
            "The kind of a sink cannot change. Create another subscription.", code="sink_kind_fixed"
        ).at("body.sink.kind")
    before = StoredSink(row.target, row.credentials)
    row.target, row.credentials = configure_sink(row.id, sink, rules, now, before)


def _list_content(row: MeasurementSubscription) -> list[Any]:
    return [getattr(row, name) for name in _CONTENT]


def take_over(row: MeasurementSubscription, principal: Principal, now: datetime) -> None:
    """End the lease, and let the subscription read with the caller's access."""
    row.created_by, row.created_by_kind = principal.key_id, principal.kind
    _end_lease(row, now)


def _end_lease(row: MeasurementSubscription, now: datetime) -> None:
    """End the lease: the next one begins at once, and searches from the cursor on."""
    row.leased_until = row.waiting_since = row.searched_position = row.searched_index = None
    row.due_at = row.updated_at = now


async def pause_subscription(session: WriteSession, row: MeasurementSubscription, now: datetime) -> None:
    """Pause a subscription: nothing is sent after the running attempt."""
    if row.state == "active":
        row.state, row.leased_until, row.updated_at = "paused", None, now
    await session.flush()


async def resume_subscription(
    session: WriteSession, principal: Principal, row: MeasurementSubscription, now: datetime
) -> None:
    """Continue at the cursor, with the caller's access; failures are forgotten (ForbiddenError)."""
    _READS_MEASUREMENTS.check(principal)
    row.state, row.disabled_reason, row.disabled_at = "active", None, None
    fresh = EndpointHealth(last_success_at=row.last_success_at)
    for name, value in fresh._asdict().items():
        setattr(row, name, value)
    row.last_detail = None
    take_over(row, principal, now)
    await subscription_queries.withdraw_replays(session, row.id)
    await session.flush()


async def rewind_subscription(
    session: WriteSession, row: MeasurementSubscription, body: SubscriptionRewind, now: datetime
) -> None:
    """Move the cursor back or forward.

    Args:
        session: The transaction.
        row: The subscription, locked.
        body: The time or the item.
        now: The time of the change.

    Raises:
        InvalidError: `rewind_target`: both or none are given, or the item does not exist yet.
    """
    if (body.time is None) == (body.item is None):
        raise InvalidError("Give `time` or `item`, and not both.", code="rewind_target")
    cursor = await _find_cursor(session, row.organisation_id, body.time)
    if body.item is not None:
        position, _, index = body.item.partition("-")
        newest, cursor = cursor, StreamPosition(int(position), min(int(index), WHOLE_COMMIT))
        if cursor > newest:
            raise InvalidError(
                f"There is no item {body.item} yet: the newest position is {newest.position}.",
                code="rewind_target",
            ).at("body.item")
    row.cursor_position, row.cursor_index = cursor.position, cursor.index
    _end_lease(row, now)
    await subscription_queries.withdraw_pending_batches(session, row.id)
    await session.flush()


async def rotate_secret(
    session: WriteSession,
    row: MeasurementSubscription,
    body: SecretRotate,
    sealer: SecretSealer,
    now: datetime,
) -> tuple[str, datetime | None]:
    """Replace a webhook's secret; the former secrets also sign until the overlap ends.

    Args:
        session: The transaction.
        row: The subscription, locked.
        body: The overlap, and optionally the new secret.
        sealer: Encrypts the new secret.
        now: The time of the change.

    Returns:
        The new secret, and the end of the overlap (None: no former secret signs).

    Raises:
        ConflictError: `sink_without_secret`, `too_many_secrets`.
        InvalidError: `secrets_unreadable`.
        UnavailableError: `encryption_key_missing`.
    """
    if row.sink != "webhook":
        raise ConflictError(
            f"A sink of the kind {row.sink} does not sign. Only the secret of a webhook can be replaced.",
            code="sink_without_secret",
        )
    try:
        secrets = open_secrets(row.id, row.credentials, sealer)
    except SealingError:
        raise InvalidError(
            "This installation cannot decrypt the secrets of the sink. Give `secret` and `headers` again, "
            "with `PATCH`.",
            code="secrets_unreadable",
        ) from None
    until = now + timedelta(seconds=parse_iso_duration(body.overlap))
    former = retire_secret(secrets["secret"], secrets.get(FORMER_SECRETS, []), now, until)
    secret = body.secret or generate_secret()
    secrets |= {"secret": secret, FORMER_SECRETS: former}
    row.credentials = seal_secrets(row.id, secrets, sealer)
    _end_lease(row, now)
    await session.flush()
    return secret, until if former else None


def present_subscription(
    row: MeasurementSubscription, sealer: SecretSealer, now: datetime
) -> SubscriptionOut:
    """Convert a subscription to its response body, without secrets."""
    try:
        secrets = open_secrets(row.id, row.credentials, sealer)
    except SealingError as error:
        _log.warning("credentials_cannot_be_opened", subscription=str(row.id), error=str(error))
        secrets = {"…": None}
    ends = list_ends(secrets.pop(FORMER_SECRETS, []), now)
    return SubscriptionOut.of(row, sorted(secrets), ends)


def read_signing_secret(row: MeasurementSubscription, sealer: SecretSealer) -> str | None:
    """Return the secret of a new webhook; None for other sinks."""
    secret: str | None = open_secrets(row.id, row.credentials, sealer).get("secret")
    return secret
