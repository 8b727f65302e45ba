"""What happens when channels are made, changed and deleted. Works inside the caller's transaction.

The broker's accounts are brought up to date by the caller, with `app.registry.broker_password_file`, after
its commit.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.notifications.api.channels_schemas import (
    FIELDS,
    OF_A_KIND,
    ChannelChange,
    EmailCreate,
    MqttCreate,
)
from app.notifications.api.endpoint_fields import Grouping
from app.notifications.api.service_channel_schemas import HttpCreate
from app.notifications.api.service_channel_service import UrlRules, aim_anew, aim_new
from app.notifications.api.webhook_service import apply_change, check_sites
from app.notifications.delivery.models import Endpoint
from app.notifications.email.allowed_recipients import check_recipients
from app.notifications.http.service_channels import HTTP_CHANNELS
from app.platform.config.settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import given
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.registry.service import named_organisation
from app.registry.subscriber_accounts import give_account, withdraw_account

_ONE_MQTT: Final = "uq_webhook_endpoints_mqtt"
_MAIL_AIMS: Final = ("to", "language", "notices")


async def add_channel(
    session: WriteSession,
    principal: Principal,
    wanted: EmailCreate | MqttCreate | HttpCreate,
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
    owner = await named_organisation(session, principal, wanted.organisation_id)
    await check_sites(session, wanted.site_ids, owner.id)
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
        aim_new(channel, wanted, rules)
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
    return channel, await give_account(session, owner.id, now)


def _grouping_of(wanted: EmailCreate | MqttCreate | HttpCreate) -> dict[str, Any] | None:
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
    fields = given(change)
    for name in OF_A_KIND:
        if name in fields and name not in FIELDS[channel.kind]:
            unknown = InvalidError(
                f"A channel of the kind {channel.kind} has no such field.", code="unknown_field"
            )
            raise unknown.at(f"body.{name}")
    if "to" in fields:
        fields["to"] = check_recipients(change.to, smtp.recipient_domains)
    if channel.kind in HTTP_CHANNELS:
        aim = aim_anew(channel, fields, rules)
        fields = {
            name: value for name, value in fields.items() if name == "grouping" or name not in OF_A_KIND
        }
        fields |= {} if aim is None else aim._asdict()
    else:
        aims = {name: fields.pop(name) for name in _MAIL_AIMS if name in fields}
        if aims:
            fields["target"] = {**(channel.target or {}), **aims}
    await apply_change(session, channel, fields, now)


async def delete_channel(session: WriteSession, channel: Endpoint) -> None:
    """Delete a channel with its deliveries; one of MQTT with its account at the broker."""
    if channel.kind == "mqtt":
        await withdraw_account(session, channel.organisation_id)
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
    return channel.organisation_id, await give_account(session, channel.organisation_id, now)


def _require_mail_server(smtp: SmtpSettings) -> None:
    if smtp.host is None:
        raise ConflictError(
            "This installation has no mail server to send through. A platform administrator has to set one "
            "with `PUT /v1/settings/mail`, or its operator VIGIE_SMTP__HOST for the api and deliver roles.",
            code="email_not_configured",
        )
