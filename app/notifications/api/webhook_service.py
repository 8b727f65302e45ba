"""Creates, changes and tests webhooks, and changes and tests channels, in the caller's transaction.

`get_endpoint`, `apply_endpoint_change` and `send_test_event` serve channels too.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.notifications.api import endpoint_queries
from app.notifications.api.dependencies import KINDS, EndpointNoun
from app.notifications.api.webhook_header_fields import MASKED
from app.notifications.api.webhook_schemas import (
    EndpointChange,
    EndpointCreate,
    EndpointOut,
    SecretRotate,
)
from app.notifications.delivery import endpoint_state_repository, waiting_groups
from app.notifications.delivery.models import Endpoint
from app.notifications.events.event_types import TEST_EVENT
from app.notifications.events.outbox import OutboxRecord, enqueue_session_events
from app.notifications.http.self_call_guard import reject_own_url
from app.notifications.http.ssrf_guard import check_url
from app.notifications.http.webhook_secrets import (
    list_ends,
    open_headers,
    retire_secret,
    seal_headers,
    seal_secret,
)
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError, TooManyRequestsError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SealingError, SecretSealer, require_encryption_key
from app.registry.box_service import resolve_organisation
from app.registry.site_repository import lock_sites

MOST_TESTS: Final = 10
"""The most test events of an endpoint within `TESTS_WITHIN`."""

TESTS_WITHIN: Final = timedelta(minutes=1)
_log = get_logger(__name__)


async def add_webhook(
    session: WriteSession,
    principal: Principal,
    body: EndpointCreate,
    *,
    allow_private: bool,
    public_url: str,
    sealer: SecretSealer,
    now: datetime,
) -> tuple[Endpoint, str]:
    """Create a webhook with a secret; return both.

    Args:
        session: The transaction.
        principal: The caller, whose tenant scope applies.
        body: The new webhook.
        allow_private: Whether http and private addresses are allowed.
        public_url: The API's own public URL, which is refused; empty if it is not configured.
        sealer: Encrypts the secret and the headers.
        now: The time of creation.

    Raises:
        InvalidError: `webhook_url_not_allowed`, `foreign_organisation`.
        NotFoundError: The organisation, or one of the sites in it, does not exist.
        UnavailableError: `encryption_key_missing`.
    """
    _check_url(body.url, public_url, allow_private=allow_private)
    require_encryption_key(sealer)
    owner = await resolve_organisation(session, principal, body.organisation_id)
    await check_site_ownership(session, body.site_ids, owner.id)
    identifier, secret = new_id(), body.secret or generate_secret()
    endpoint = Endpoint(
        id=identifier,
        organisation_id=owner.id,
        kind="webhook",
        format=body.format,
        url=body.url,
        description=body.description,
        recipient=body.recipient,
        events=body.events,
        site_ids=body.site_ids,
        min_severity=body.min_severity,
        grouping=body.grouping.model_dump() if body.grouping else None,
        secret=seal_secret(sealer, identifier, secret),
        former_secrets=[],
        headers=seal_headers(sealer, identifier, body.headers or {}),
        rate_per_s=body.rate_per_s,
        concurrency=body.concurrency,
        enabled=body.enabled,
        created_at=now,
        updated_at=now,
    )
    session.add(endpoint)
    await session.flush()
    return endpoint, secret


async def change_webhook(
    session: WriteSession,
    endpoint: Endpoint,
    change: EndpointChange,
    *,
    allow_private: bool,
    public_url: str,
    sealer: SecretSealer,
    now: datetime,
) -> None:
    """Change the given fields of a webhook (errors as for a new one).

    Args:
        session: The transaction.
        endpoint: The webhook, locked.
        change: The given fields.
        allow_private: Whether http and private addresses are allowed.
        public_url: The API's own public URL, which is refused; empty if it is not configured.
        sealer: Encrypts headers.
        now: The time of the change.
    """
    fields = collect_sent_fields(change)
    if "url" in fields:
        _check_url(change.url, public_url, allow_private=allow_private)
    if "headers" in fields:
        if change.headers:
            require_encryption_key(sealer)
        fields["headers"] = seal_headers(sealer, endpoint.id, change.headers or {})
    await apply_endpoint_change(session, endpoint, fields, now)


async def apply_endpoint_change(
    session: WriteSession, endpoint: Endpoint, fields: dict[str, Any], now: datetime
) -> None:
    """Write changed columns of an endpoint of any kind.

    If the grouping changes, waiting groups become due immediately, as they are. If the endpoint is enabled
    (again) or gets another target, its failures and the reason for which it was disabled are reset.

    Args:
        session: The transaction.
        endpoint: The endpoint, locked.
        fields: Values by column; `grouping` may be the request body's model.
        now: The time of the change.

    Raises:
        NotFoundError: One of the added `site_ids` is not a site of the endpoint's organisation.
    """
    if fields.get("site_ids") is not None:
        # The present ones were checked before, and one of them may have been deleted since.
        added = [each for each in fields["site_ids"] if each not in (endpoint.site_ids or ())]
        await check_site_ownership(session, added, endpoint.organisation_id)
    if "grouping" in fields:
        grouping = fields["grouping"]
        fields = {**fields, "grouping": grouping.model_dump() if grouping else None}
        if fields["grouping"] != endpoint.grouping:
            await waiting_groups.flush_endpoint_groups(session, endpoint.id)
    has_new_target = any(
        name in fields and fields[name] != getattr(endpoint, name)
        for name in ("url", "target", "credentials")
    )
    if fields.get("enabled"):
        fields = {**fields, "disabled_reason": None, "disabled_at": None}
    if fields.get("enabled") or has_new_target:
        await endpoint_state_repository.reset_failures(session, endpoint.id)
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if fields:
        endpoint.updated_at = now
    await session.flush()


async def rotate_secret(
    session: WriteSession, endpoint: Endpoint, body: SecretRotate, sealer: SecretSealer, now: datetime
) -> tuple[str, datetime | None]:
    """Replace a webhook's secret; the former secrets also sign until the overlap ends.

    Args:
        session: The transaction.
        endpoint: The webhook, locked.
        body: The overlap, and optionally the new secret.
        sealer: Encrypts the new secret.
        now: The time of the change.

    Returns:
        The new secret, and the end of the overlap (None: no former secret signs).

    Raises:
        ConflictError: `too_many_secrets`.
        UnavailableError: `encryption_key_missing`.
    """
    require_encryption_key(sealer)
    if endpoint.secret is None:
        raise RuntimeError(f"the webhook {endpoint.id} has no secret")
    overlap_s = parse_iso_duration(body.overlap)
    until = now + timedelta(seconds=overlap_s)
    former = retire_secret(endpoint.secret, endpoint.former_secrets, now, until)
    secret = body.secret or generate_secret()
    endpoint.secret = seal_secret(sealer, endpoint.id, secret)
    endpoint.former_secrets = former
    endpoint.updated_at = now
    await session.flush()
    return secret, until if former else None


def present_webhook(endpoint: Endpoint, sealer: SecretSealer, now: datetime) -> EndpointOut:
    """Convert a webhook to its response body, without secrets and values of headers."""
    headers: dict[str, str] | None = None
    if endpoint.headers is not None:
        try:
            opened = open_headers(sealer, endpoint.id, endpoint.headers)
            headers = dict.fromkeys(opened, MASKED)
        except SealingError as error:
            _log.warning("headers_cannot_be_opened", endpoint_id=str(endpoint.id), error=str(error))
            headers = {MASKED: MASKED}
    return EndpointOut.of(endpoint, headers, list_ends(endpoint.former_secrets, now))


async def get_endpoint(
    session: ReadSession | WriteSession,
    identifier: UUID,
    principal: Principal,
    *,
    noun: EndpointNoun = "webhook",
    lock: bool = False,
    hold: bool = False,
) -> Endpoint:
    """Find a webhook or channel that the caller may see (NotFoundError).

    Args:
        session: The transaction.
        identifier: The endpoint's id.
        principal: The caller, whose tenant scope applies.
        noun: Whether to find a webhook or a channel.
        lock: As for `find_endpoint`.
        hold: As for `find_endpoint`.
    """
    endpoint = await endpoint_queries.find_endpoint(
        session, identifier, principal.visible(), kinds=KINDS[noun], lock=lock, hold=hold
    )
    if endpoint is None:
        raise NotFoundError(noun, identifier)
    return endpoint


async def send_test_event(session: WriteSession, endpoint: Endpoint, now: datetime) -> UUID:
    """Write a test event for one endpoint to the outbox; return the event's id.

    It is attempted soon, even if the circuit breaker is open.

    Args:
        session: The transaction.
        endpoint: The endpoint, locked so that concurrent requests are counted one after the other.
        now: The time.

    Raises:
        ConflictError: `endpoint_disabled`.
        TooManyRequestsError: `too_many_tests`.
    """
    if not endpoint.enabled:
        raise ConflictError("The endpoint is disabled. Enable it first.", code="endpoint_disabled")
    recent, first = await endpoint_queries.count_recent_tests(session, endpoint, now - TESTS_WITHIN)
    if recent >= MOST_TESTS and first is not None:
        wait_s = math.ceil((first + TESTS_WITHIN - now).total_seconds())
        raise TooManyRequestsError(
            f"The endpoint got {MOST_TESTS} test events within a minute. Wait {wait_s} s.",
            retry_after_s=wait_s,
            code="too_many_tests",
        )
    event = OutboxRecord(
        id=new_id(),
        organisation_id=endpoint.organisation_id,
        site_id=None,
        type=TEST_EVENT,
        payload={
            "endpoint_id": endpoint.id,
            "organisation_id": endpoint.organisation_id,
            "kind": endpoint.kind,
            "message": "A test event: alerts will arrive here too.",
        },
        created_at=now,
    )
    await endpoint_state_repository.half_open_breaker(session, endpoint.id)
    await enqueue_session_events(session, [event])
    return event.id


def _check_url(url: str, public_url: str, *, allow_private: bool) -> None:
    try:
        reject_own_url(check_url(url, allow_private=allow_private), public_url)
    except InvalidError as error:
        raise error.at("body.url") from None


async def check_site_ownership(session: WriteSession, site_ids: Sequence[UUID] | None, owner: UUID) -> None:
    """Refuse sites that do not belong to the endpoint's organisation (NotFoundError)."""
    if site_ids is None:
        return
    found = await lock_sites(session, site_ids, TenantScope.of([owner]))
    for site_id in site_ids:
        if site_id not in found:
            raise NotFoundError("site", site_id)
