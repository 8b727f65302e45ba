"""REST for channels: e-mail, MQTT, and services by HTTP.

Owns the HTTP side only. What changes an account at the broker commits first, then brings the broker up to
date, then answers: a password works as soon as it is known, and not any more once the channel is deleted.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from app.audit.audit_recorder import AccessedSubject, record_access
from app.notifications.api import channels_service, endpoint_repository, webhook_service
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
    DatabaseDependency,
    PublicUrl,
    Reader,
    SealerDependency,
    WebhookSettingsDependency,
    Writer,
)
from app.notifications.api.endpoint_repository import CHANNELS
from app.notifications.api.service_channel_schemas import HttpChannelOut
from app.notifications.api.service_channel_service import UrlRules
from app.notifications.delivery import endpoint_removal
from app.notifications.delivery.models import Endpoint
from app.platform.config.settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.dependencies import WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import DefaultQuotas, sync_broker_accounts
from app.registry.quota_service import check_quota

router: Final = APIRouter(prefix="/v1/channels", tags=["Channels"], route_class=StrictRoute)

_AGAIN: Final = "give the channel a new password"
_ENDED: Final = "the account has ended"


async def _smtp(request: Request) -> SmtpSettings:
    settings: SmtpSettings = request.app.state.installation.smtp
    return settings


async def _rules(
    settings: WebhookSettingsDependency, public_url: PublicUrl, sealer: SealerDependency
) -> UrlRules:
    return UrlRules(settings.allow_private, public_url, sealer)


_Smtp = Annotated[SmtpSettings, Depends(_smtp)]
_Rules = Annotated[UrlRules, Depends(_rules)]


async def _record(session: WriteSession, rows: Sequence[Endpoint]) -> None:
    """Addresses are persons': whoever is shown them is recorded, in the transaction that reads them."""
    seen = [AccessedSubject(row.organisation_id, row.id) for row in rows if row.kind == "email"]
    await record_access(session, "channel", seen)


@router.post(
    "",
    status_code=201,
    operation_id="create_channel",
    summary="Open a channel",
    response_model=ChannelCreated,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422, 503),
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
    """Have alerts mailed (`email`), published at the broker (`mqtt`), or posted to a service.

    Services are `slack`, `teams`, `discord`, `pagerduty`, `ntfy` and `alertmanager`. What gives access to one
    (the address of a chat, a key, a token, a password) is stored sealed, and never shown again.

    Mails tell of several alerts at once, unless `grouping` is null. They need a mail server: without one the
    answer is 409 `email_not_configured`.

    An organisation has one MQTT channel at most. The answer shows the account that may subscribe to `topic`;
    its password is shown here and never again, and works at once.
    """
    now = datetime.now(UTC)
    async with database.write() as session:
        channel, password = await channels_service.add_channel(
            session, principal, body, smtp=smtp, rules=rules, now=now
        )
        await check_quota(session, "webhooks", {channel.organisation_id: 1}, defaults, principal.visible())
        answer = present_created_channel(channel, password)
    if password is not None:
        await sync_broker_accounts(request, database, next_step=_AGAIN)
    return answer


@router.get(
    "",
    operation_id="list_channels",
    summary="List channels",
    response_model=Page[ChannelOut],
    responses=document_problems(401, 403, 422, 503),
)
async def list_channels(
    *,
    principal: Reader,
    session: WriteSessionDep,
    asked: Annotated[PageRequest, Depends(CHANNELS.page_request)],
    organisation: Annotated[UUID | None, Query(description="Of this organisation alone")] = None,
    kind: Annotated[ChannelKind | None, Query(description="Of this kind alone")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled ones")] = None,
) -> Page[EmailOut | MqttOut | HttpChannelOut]:
    """By default the oldest first; no passwords. Who is shown recipients of mails is in the audit log."""
    rows = await endpoint_repository.list_endpoints(
        session,
        principal.visible(),
        asked,
        organisation=organisation,
        enabled=enabled,
        kinds=KINDS["channel"] if kind is None else (kind,),
        orders=CHANNELS,
    )
    kept, following = CHANNELS.cut(rows, asked)
    await _record(session, kept)
    return Page(data=[present_channel(row) for row in kept], next=following)


@router.get(
    "/{channel}",
    operation_id="get_channel",
    summary="Read a channel",
    response_model=ChannelOut,
    responses=document_problems(401, 403, 404, 503),
)
async def get_channel(
    channel: str, principal: Reader, session: WriteSessionDep
) -> EmailOut | MqttOut | HttpChannelOut:
    """The password is not shown. Who is shown recipients of mails is in the audit log."""
    identifier = parse_id(channel, "channel")
    row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel")
    await _record(session, [row])
    return present_channel(row)


@router.patch(
    "/{channel}",
    operation_id="update_channel",
    summary="Change a channel",
    response_model=ChannelOut,
    responses=document_problems(400, 401, 403, 404, 413, 415, 422, 503),
)
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
    """Only what is given changes; the kind stays. What is pending for a disabled channel waits.

    With another `grouping` what waits is sent at once, as it was put together so far. The account of an MQTT
    channel may go on subscribing while the channel is disabled. Who is shown recipients of mails is in the
    audit log.
    """
    identifier = parse_id(channel, "channel")
    row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel", lock=True)
    matching.check(present_channel(row))
    await channels_service.change_channel(session, row, body, smtp=smtp, rules=rules, now=datetime.now(UTC))
    if principal.may(READ_SCOPE):
        # Others are not shown it.
        await _record(session, [row])
    return present_channel(row)


@router.delete(
    "/{channel}",
    status_code=204,
    operation_id="delete_channel",
    summary="Delete a channel",
    responses=document_problems(401, 403, 404, 503),
)
async def delete_channel(
    channel: str, request: Request, principal: Writer, database: DatabaseDependency, matching: PreconditionDep
) -> Response:
    """Its deliveries go with it, also those that are pending. An MQTT channel's subscribers are cut off.

    It is disabled first; one with many deliveries takes a while to go.
    """
    identifier = parse_id(channel, "channel")
    await endpoint_removal.empty_endpoint(
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
    responses=document_problems(401, 403, 404, 409, 503),
)
async def rotate_password(
    channel: str, request: Request, principal: Writer, database: DatabaseDependency
) -> PasswordOut:
    """The new password is shown here and never again; whoever is connected with the former one is cut off."""
    identifier = parse_id(channel, "channel")
    async with database.write() as session:
        row = await webhook_service.get_endpoint(session, identifier, principal, noun="channel", lock=True)
        organisation, password = await channels_service.rotate_password(session, row, datetime.now(UTC))
    await sync_broker_accounts(request, database, next_step=_AGAIN)
    return PasswordOut(id=identifier, credentials=build_broker_credentials(organisation, password))
