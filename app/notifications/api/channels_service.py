"""Creates, changes and deletes channels inside the caller's transaction.

The caller updates the broker's accounts after its commit, with `app.registry.broker_password_file`.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.notifications.api.channels_schemas import (
    FIELDS_BY_KIND,
    KIND_SPECIFIC_FIELDS,
    ChannelChange,
    EmailCreate,
    MqttCreate,
)
from app.notifications.api.endpoint_fields import Grouping
from app.notifications.api.service_channel_schemas import HttpChannelCreate
from app.notifications.api.service_channel_targets import (
    UrlRules,
    resolve_changed_target,
    set_channel_target,
)
from app.notifications.api.webhook_service import apply_endpoint_change, check_site_ownership
from app.notifications.delivery.models import Endpoint
from app.notifications.email.allowed_recipients import check_recipients
from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.platform.config.platform_settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.registry.box_service import resolve_organisation
from app.registry.broker_password_file import delete_account, issue_account

_ONE_MQTT: Final = "uq_webhook_endpoints_mqtt"
_TARGET_FIELDS: Final = ("to", "language", "notices")


async def add_channel(
    session: WriteSession,
    principal: Principal,
    body: EmailCreate | MqttCreate | HttpChannelCreate,
    *,
    smtp: SmtpSettings,
    rules: UrlRules,
    now: datetime,
) -> tuple[Endpoint, str | None]:
    """Create a channel. An MQTT channel is returned with the only copy of its password.

    Args:
        session: The transaction.
        principal: The caller, whose tenant scope applies.
        body: The new channel.
        smtp: The mail server, which e-mail channels need, and the domains that mails may go to.
        rules: The rules for the URLs of services.
        now: The time of creation.

    Raises:
        ConflictError: `email_not_configured`, `mqtt_channel_exists`.
        InvalidError: `invalid_email_address`, `recipient_domain_not_allowed`, `foreign_organisation`,
            `webhook_url_not_allowed`, `missing_field`.
        NotFoundError: The organisation, or one of the sites in it, does not exist.
        UnavailableError: `encryption_key_missing`.
    """
    target: dict[str, Any] = {}
    if isinstance(body, EmailCreate):
        _require_mail_server(smtp)
        recipients = check_recipients(body.to, smtp.recipient_domains)
        target = {"to": recipients, "language": body.language, "notices": body.notices}
    owner = await resolve_organisation(session, principal, body.organisation_id)
    await check_site_ownership(session, body.site_ids, owner.id)
    channel = Endpoint(
        id=new_id(),
        organisation_id=owner.id,
        kind=body.kind,
        format=body.format if isinstance(body, MqttCreate) else "native",
        target=target,
        description=body.description,
        recipient=body.recipient,
        events=body.events,
        site_ids=body.site_ids,
        min_severity=body.min_severity,
        grouping=_grouping_of(body),
        former_secrets=[],
        rate_per_s=body.rate_per_s,
        enabled=body.enabled,
        created_at=now,
        updated_at=now,
    )
    if not isinstance(body, EmailCreate | MqttCreate):
        set_channel_target(channel, body, rules)
    session.add(channel)
    try:
        await session.flush()
    except IntegrityError as error:
        if _ONE_MQTT not in str(error.orig):
            raise
        raise ConflictError(
            "The organisation has an MQTT channel already: change that one, or delete it first.",
            code="mqtt_channel_exists",
        ) from None
    if not isinstance(body, MqttCreate):
        return channel, None
    return channel, await issue_account(session, owner.id, now)


def _grouping_of(body: EmailCreate | MqttCreate | HttpChannelCreate) -> dict[str, Any] | None:
    grouping: Grouping | None = getattr(body, "grouping", None)
    return grouping.model_dump() if grouping else None


async def change_channel(
    session: WriteSession,
    channel: Endpoint,
    change: ChannelChange,
    *,
    smtp: SmtpSettings,
    rules: UrlRules,
    now: datetime,
) -> None:
    """Change the given fields of a channel.

    Args:
        session: The transaction.
        channel: The channel, locked.
        change: The given fields.
        smtp: The domains that mails may go to.
        rules: The rules for the URLs of services.
        now: The time of the change.

    Raises:
        InvalidError: `unknown_field` for a field of other kinds; otherwise as for a new channel.
        NotFoundError: One of the sites does not exist.
    """
    fields = collect_sent_fields(change)
    for name in KIND_SPECIFIC_FIELDS:
        if name in fields and name not in FIELDS_BY_KIND[channel.kind]:
            unknown = InvalidError(
                f"A channel of the kind {channel.kind} has no such field. Leave it out.",
                code="unknown_field",
            )
            raise unknown.at(f"body.{name}")
    if "to" in fields:
        fields["to"] = check_recipients(change.to, smtp.recipient_domains)
    if channel.kind in HTTP_CHANNELS:
        changed = resolve_changed_target(channel, fields, rules)
        fields = {
            name: value
            for name, value in fields.items()
            if name == "grouping" or name not in KIND_SPECIFIC_FIELDS
        }
        fields |= {} if changed is None else changed._asdict()
    else:
        target = {name: fields.pop(name) for name in _TARGET_FIELDS if name in fields}
        if target:
            fields["target"] = {**(channel.target or {}), **target}
    await apply_endpoint_change(session, channel, fields, now)


async def delete_channel(session: WriteSession, channel: Endpoint) -> None:
    """Delete a channel with its deliveries, and an MQTT channel's broker account."""
    if channel.kind == "mqtt":
        await delete_account(session, channel.organisation_id)
    await session.delete(channel)
    await session.flush()


async def rotate_password(session: WriteSession, channel: Endpoint, now: datetime) -> tuple[UUID, str]:
    """Give an MQTT channel's account a new password.

    Returns:
        The id of the account's organisation, and the only copy of the password.

    Raises:
        ConflictError: `channel_without_password`.
    """
    if channel.kind != "mqtt":
        raise ConflictError(
            "Only channels of the kind mqtt have a password.", code="channel_without_password"
        )
    channel.updated_at = now
    return channel.organisation_id, await issue_account(session, channel.organisation_id, now)


def _require_mail_server(smtp: SmtpSettings) -> None:
    if smtp.host is None:
        raise ConflictError(
            "This installation has no mail server. A platform administrator has to set one with "
            "`PUT /v1/settings/mail`, or its operator VIGIE_SMTP__HOST for the api and deliver processes.",
            code="email_not_configured",
        )
