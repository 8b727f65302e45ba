"""Serves the REST API of channels: e-mail, MQTT, chats, paging services and Alertmanager.

A route that changes a broker account commits, updates the broker, and then responds. So a password works as
soon as the client has it, and stops working before the client learns that the channel is deleted.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from app.audit.audit_recorder import AccessedSubject, record_access
from app.notifications.api import channels_service, endpoint_queries, webhook_service
from app.notifications.api.channels_schemas import (
    EXAMPLES,
    ChannelChange,
    ChannelCreate,
    ChannelCreated,
    ChannelKind,
    ChannelOut,
    EmailOut,
    MqttCreated,
    MqttOut,
    PasswordOut,
    build_broker_credentials,
    present_channel,
    present_created_channel,
)
from app.notifications.api.dependencies import (
    KINDS,
    READ_SCOPE,
    PublicUrl,
    Reader,
    WebhookSettingsDependency,
    Writer,
)
from app.notifications.api.endpoint_queries import CHANNELS
from app.notifications.api.service_channel_schemas import HttpChannelOut
from app.notifications.api.service_channel_targets import UrlRules
from app.notifications.delivery import endpoint_deliveries_deletion
from app.notifications.delivery.models import Endpoint
from app.platform.config.platform_settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    SealerDependency,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id
from app.platform.runtime.stored_settings import InstallationDependency
from app.registry.dependencies import DefaultQuotas, sync_broker_accounts
from app.registry.quota_service import check_quota

router: Final = APIRouter(prefix="/v1/channels", tags=["Channels"], route_class=StrictRoute)

_ROTATE: Final = "give the channel a new password"
_ENDED: Final = "the account has ended"


async def _smtp(installation: InstallationDependency) -> SmtpSettings:
    return installation.smtp


async def _rules(
    settings: WebhookSettingsDependency, public_url: PublicUrl, sealer: SealerDependency
) -> UrlRules:
    return UrlRules(settings.allow_private, public_url, sealer)


_Smtp = Annotated[SmtpSettings, Depends(_smtp)]
_Rules = Annotated[UrlRules, Depends(_rules)]


async def _record(session: WriteSession, rows: Sequence[Endpoint]) -> None:
    """Record access to e-mail addresses, which are personal data, in the transaction that reads them."""
    subjects = [AccessedSubject(row.organisation_id, row.id) for row in rows if row.kind == "email"]
    await record_access(session, "channel", subjects)


@router.post(
    "",
    status_code=201,
    summary="Create a channel",
    response_model=ChannelCreated,
    responses=document_problems(404),
)
async def create_channel(
    *,
    body: Annotated[ChannelCreate, Body(openapi_examples=EXAMPLES)],
    request: Request,
    principal: Writer,
    database: DatabaseDependency,
    smtp: _Smtp,
    rules: _Rules,
    defaults: DefaultQuotas,
) -> EmailOut | MqttCreated | HttpChannelOut:
    """Vigie mails alerts (`email`), publishes them at the broker (`mqtt`), or posts them to a service.

    Services are `slack`, `teams`, `discord`, `pagerduty`, `ntfy` and `alertmanager`. Credentials (the address
    of a chat, a key, a token, a password) are stored encrypted and never shown again.

    A mail covers several alerts, unless `grouping` is null. Mails need a mail server: without one the
    response is 409 `email_not_configured`.

    An organisation has at most one MQTT channel. The response contains the account that may subscribe to
    `topic`. Its password is shown only here, and works immediately.
    """
    now = datetime.now(UTC)
    async with database.write() as session:
        channel, password = await channels_service.add_channel(
            session, principal, body, smtp=smtp, rules=rules, now=now
        )
        await check_quota(session, "webhooks", {channel.organisation_id: 1}, defaults, principal.visible())
        created = present_created_channel(channel, password)
    if password is not None:
        await sync_broker_accounts(request, database, next_step=_ROTATE)
    return created


@router.get("", summary="List channels", response_model=Page[ChannelOut])
async def list_channels(
    *,
    principal: Reader,
    session: WriteSessionDep,
    page: Annotated[PageRequest, Depends(CHANNELS.page_request)],
    organisation: Annotated[UUID | None, Query(description="Only channels of this organisation")] = None,
    kind: Annotated[ChannelKind | None, Query(description="Only channels of this kind")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled or only disabled channels")] = None,
) -> Page[EmailOut | MqttOut | HttpChannelOut]:
    """Oldest first by default. Passwords are not shown. The audit log records who reads mail recipients."""
    rows = await endpoint_queries.list_endpoints(
        session,
        principal.visible(),
        page,
        organisation=organisation,
        enabled=enabled,
        kinds=KINDS["channel"] if kind is None else (kind,),
        orders=CHANNELS,
    )
    shown, following = CHANNELS.cut(rows, page)
    await _record(session, shown)
    return Page(data=[present_channel(row) for row in shown], next=following)


@router.get("/{channel}", summary="Read a channel", response_model=ChannelOut)
async def get_channel(
    channel: str, principal: Reader, session: WriteSessionDep
) -> EmailOut | MqttOut | HttpChannelOut:
    """The password is not shown. The audit log records who reads mail recipients."""
    identifier = parse_id(channel, "channel")
    row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel")
    await _record(session, [row])
    return present_channel(row)


@router.patch("/{channel}", summary="Change a channel", response_model=ChannelOut)
async def update_channel(
    *,
    channel: str,
    body: ChannelChange,
    principal: Writer,
    session: WriteSessionDep,
    smtp: _Smtp,
    rules: _Rules,
    matching: PreconditionDep,
) -> EmailOut | MqttOut | HttpChannelOut:
    """Changes only the fields in the body; the kind cannot change. Deliveries of a disabled channel wait.

    If `grouping` changes, waiting groups are sent immediately, with the alerts that they have so far. The
    account of an MQTT channel may still subscribe while the channel is disabled. The audit log records who
    reads mail recipients.
    """
    identifier = parse_id(channel, "channel")
    row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel", lock=True)
    matching.check(present_channel(row))
    await channels_service.change_channel(session, row, body, smtp=smtp, rules=rules, now=datetime.now(UTC))
    if principal.may(READ_SCOPE):
        # Callers without this scope do not get the row in the response.
        await _record(session, [row])
    return present_channel(row)


@router.delete("/{channel}", status_code=204, summary="Delete a channel")
async def delete_channel(
    channel: str, request: Request, principal: Writer, database: DatabaseDependency, matching: PreconditionDep
) -> Response:
    """Deletes the channel and all its deliveries, also pending ones.

    The subscribers of an MQTT channel are disconnected. The channel is disabled first. With many deliveries
    the request takes a while.
    """
    identifier = parse_id(channel, "channel")
    await endpoint_deliveries_deletion.empty_endpoint(
        database, identifier, principal, "channel", matching.on(present_channel)
    )
    async with database.write() as session:
        row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel", lock=True)
        kind = row.kind
        await channels_service.delete_channel(session, row)
    if kind == "mqtt":
        await sync_broker_accounts(request, database, next_step=_ENDED)
    return Response(status_code=204)


@router.post(
    "/{channel}/rotate-password",
    operation_id="rotate_channel_password",
    summary="Replace an MQTT channel's password",
)
async def rotate_password(
    channel: str, request: Request, principal: Writer, database: DatabaseDependency
) -> PasswordOut:
    """The new password is shown only here. Clients connected with the former one are disconnected."""
    identifier = parse_id(channel, "channel")
    async with database.write() as session:
        row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel", lock=True)
        organisation, password = await channels_service.rotate_password(session, row, datetime.now(UTC))
    await sync_broker_accounts(request, database, next_step=_ROTATE)
    return PasswordOut(id=identifier, credentials=build_broker_credentials(organisation, password))
