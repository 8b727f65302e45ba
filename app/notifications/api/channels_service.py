"""What happens when channels are made, changed and deleted. Works inside the caller's transaction.

The broker's accounts are brought up to date by the caller, with `app.registry.broker_password_file`, after
its commit.
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
from app.notifications.api.service_channel_service import UrlRules, resolve_changed_target, set_channel_target
from app.notifications.api.webhook_service import apply_endpoint_change, check_site_ownership
from app.notifications.delivery.models import Endpoint
from app.notifications.email.allowed_recipients import check_recipients
from app.notifications.http.service_channels import HTTP_CHANNELS
from app.platform.config.settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.registry.broker_password_file import delete_account, issue_account
from app.registry.service import resolve_organisation

_ONE_MQTT: Final = "uq_webhook_endpoints_mqtt"
_MAIL_AIMS: Final = ("to", "language", "notices")


async def add_channel(
    session: WriteSession,
    principal: Principal,
    wanted: EmailCreate | MqttCreate | HttpChannelCreate,
    *,
    smtp: SmtpSettings,
    rules: UrlRules,
    now: datetime,
) -> tuple[Endpoint, str | None]:
    """Make a channel; one of MQTT comes with the only copy of its password.

    Raises:
        ConflictError: `email_not_configured`, `mqtt_channel_exists`.
        InvalidError: `invalid_email_address`, `recipient_domain_not_allowed`, `foreign_organisation`,
            `webhook_url_not_allowed`, `missing_field`.
        NotFoundError: The organisation, or one of the sites in it, does not exist.
        UnavailableError: `encryption_key_missing`.
    """
    target: dict[str, Any] = {}
    if isinstance(wanted, EmailCreate):
        _require_mail_server(smtp)
        recipients = check_recipients(wanted.to, smtp.recipient_domains)
        target = {"to": recipients, "language": wanted.language, "notices": wanted.notices}
    owner = await resolve_organisation(session, principal, wanted.organisation_id)
    await check_site_ownership(session, wanted.site_ids, owner.id)
    channel = Endpoint(
        id=new_id(),
        organisation_id=owner.id,
        kind=wanted.kind,
        format=wanted.format if isinstance(wanted, MqttCreate) else "native",
        target=target,
        description=wanted.description,
        recipient=wanted.recipient,
        events=wanted.events,
        site_ids=wanted.site_ids,
        min_severity=wanted.min_severity,
        grouping=_grouping_of(wanted),
        former_secrets=[],
        rate_per_s=wanted.rate_per_s,
        enabled=wanted.enabled,
        created_at=now,
        updated_at=now,
    )
    if not isinstance(wanted, EmailCreate | MqttCreate):
        set_channel_target(channel, wanted, rules)
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
    if not isinstance(wanted, MqttCreate):
        return channel, None
    return channel, await issue_account(session, owner.id, now)


def _grouping_of(wanted: EmailCreate | MqttCreate | HttpChannelCreate) -> dict[str, Any] | None:
    grouping: Grouping | None = getattr(wanted, "grouping", None)
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
    """Change what is given of a channel.

    Args:
        session: The transaction.
        channel: Locked.
        change: What is given.
        smtp: Says which domains mails may go to.
        rules: Which addresses of services are taken.
        now: The time of the change.

    Raises:
        InvalidError: `unknown_field` for one that channels of other kinds have; as for a new one.
        NotFoundError: One of the sites does not exist.
    """
    fields = collect_sent_fields(change)
    for name in KIND_SPECIFIC_FIELDS:
        if name in fields and name not in FIELDS_BY_KIND[channel.kind]:
            unknown = InvalidError(
                f"A channel of the kind {channel.kind} has no such field.", code="unknown_field"
            )
            raise unknown.at(f"body.{name}")
    if "to" in fields:
        fields["to"] = check_recipients(change.to, smtp.recipient_domains)
    if channel.kind in HTTP_CHANNELS:
        aim = resolve_changed_target(channel, fields, rules)
        fields = {
            name: value
            for name, value in fields.items()
            if name == "grouping" or name not in KIND_SPECIFIC_FIELDS
        }
        fields |= {} if aim is None else aim._asdict()
    else:
        aims = {name: fields.pop(name) for name in _MAIL_AIMS if name in fields}
        if aims:
            fields["target"] = {**(channel.target or {}), **aims}
    await apply_endpoint_change(session, channel, fields, now)


async def delete_channel(session: WriteSession, channel: Endpoint) -> None:
    """Delete a channel with its deliveries; one of MQTT with its account at the broker."""
    if channel.kind == "mqtt":
        await delete_account(session, channel.organisation_id)
    await session.delete(channel)
    await session.flush()


async def rotate_password(session: WriteSession, channel: Endpoint, now: datetime) -> tuple[UUID, str]:
    """Give an MQTT channel's account a new password.

    Returns:
        Whose account it is, and the only copy of the password.

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
            "This installation has no mail server to send through. A platform administrator has to set one "
            "with `PUT /v1/settings/mail`, or its operator VIGIE_SMTP__HOST for the api and deliver roles.",
            code="email_not_configured",
        )
