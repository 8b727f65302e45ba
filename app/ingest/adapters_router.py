"""Accepts HTTP data of devices whose format is fixed by their firmware (`POST /v1/adapters/{format}`).

Such a firmware can be configured with a host, a path, a user and a password. The box therefore signs in with
its MQTT credentials (HTTP Basic). An API key serves gateways, which forward pushes of several boxes.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.models import HTTPBase as HTTPBaseModel
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasicCredentials
from fastapi.security.base import SecurityBase
from sqlalchemy import select

from app.ingest.adapters.adapter_registry import ADAPTERS
from app.ingest.adapters.adapter_types import FormatAdapter
from app.ingest.codec.batch_decoder import add_foreign_message
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.reference_telemetry_decoder import is_box_id
from app.ingest.http_ingest_service import (
    TelemetryOutcome,
    ingest_request,
    make_decode_context,
    read_ingest_body,
    rewrite_payload_as_json,
)
from app.platform.broker.mosquitto_password_hash import (
    hash_mosquitto_password,
    verify_mosquitto_password,
)
from app.platform.db.database import Database
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import check_media_type
from app.platform.identity.caller_authentication import bearer, current_principal, require_scope
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.tenant_scope import TenantScope, run_with_full_scope
from app.registry.models import Box

router = APIRouter(prefix="/v1/adapters")

_require_write: Final = require_scope("telemetry:write")
_CREDENTIALS_LIMIT: Final = 1_024
_WRONG: Final = "Sign in as the box (user: its id, password: its MQTT password), or with an API key."
# Verified for unknown boxes, so that the response time does not reveal whether a box exists.
_UNKNOWN_BOX_HASH: Final = hash_mosquitto_password("unknown")


@dataclass(frozen=True, slots=True)
class PushSender:
    """The sender of a push: a box, or the holder of a key.

    Attributes:
        box: the box that signed in; None for a key.
        organisation_id: the sender's organisation.
        tree: its integrator, or the organisation itself; a box counts for its organisation.
        tenant_scope: the boxes that it may write to.
    """

    box: str | None
    organisation_id: UUID
    tree: UUID
    tenant_scope: TenantScope


class BoxAccount(SecurityBase):
    """HTTP Basic. FastAPI's own class responds with another error to unreadable credentials."""

    def __init__(self, description: str) -> None:
        self.model = HTTPBaseModel(scheme="basic", description=description)
        self.scheme_name = type(self).__name__

    async def __call__(self, request: Request) -> HTTPBasicCredentials | None:
        """Return user and password; None if they are missing or unreadable."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or len(encoded) > _CREDENTIALS_LIMIT:
            return None
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return HTTPBasicCredentials(username=user, password=password) if colon else None


box_account = BoxAccount("The id of a box and its MQTT password, for devices that push by HTTP.")


async def _as_box(database: Database, user: str, password: str) -> PushSender:
    """Authenticate a box by its credentials (UnauthorisedError).

    A check costs 0.1 ms: the passwords are long and random, so the hash need not be slow. Results are not
    cached, so that a revoked password is refused immediately.
    """
    found = None
    if is_box_id(user):
        query = select(Box.organisation_id, Box.password_hash)
        query = query.where(Box.id == user, Box.deleted_at.is_(None))
        with run_with_full_scope():
            async with database.read() as session:
                found = (await session.execute(query)).one_or_none()
    right = verify_mosquitto_password(password, _UNKNOWN_BOX_HASH if found is None else found.password_hash)
    if found is None or not right:
        raise UnauthorisedError(_WRONG)
    owner = found.organisation_id
    return PushSender(user, owner, owner, TenantScope.of([owner]))


async def current_sender(
    request: Request,
    account: Annotated[HTTPBasicCredentials | None, Depends(box_account)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> PushSender:
    """FastAPI dependency: the sender of a push (401 without credentials, 403 without the scope)."""
    if account is not None:
        return await _as_box(get_resource(request.app, Database), account.username, account.password)
    if credentials is None:
        raise UnauthorisedError(_WRONG)
    principal = await current_principal(request, credentials)
    await _require_write(principal)
    return PushSender(None, principal.organisation_id, principal.tree, principal.visible())


async def _decode_body(
    request: Request, intake: DecodedBatch, adapter: FormatAdapter, sender: PushSender, now: datetime
) -> None:
    body = await read_ingest_body(request, intake)
    check_media_type(request, body)
    add_foreign_message(intake, 0, adapter, make_decode_context(request, now, sender.box))
    rewrite_payload_as_json(intake)


def _endpoint(adapter: FormatAdapter) -> Callable[..., Awaitable[Response]]:
    async def push(request: Request, sender: Annotated[PushSender, Depends(current_sender)]) -> Response:
        now = datetime.now(UTC)
        intake = DecodedBatch(
            "http",
            [ReceivedMessage(None, b"")],
            organisation_id=sender.organisation_id,
            tenant_scope=sender.tenant_scope,
        )
        decoding = _decode_body(request, intake, adapter, sender, now)
        return await ingest_request(request, intake, decoding, now, tree=sender.tree, box=sender.box)

    push.__doc__ = f"""{adapter.title}.

    Sign in with HTTP Basic as the box (its id and its MQTT password), or with an API key of
    `telemetry:write`. The response is that of `POST /v1/telemetry`, and is sent after the commit.
    """
    return push


def _body(adapter: FormatAdapter) -> dict[str, Any]:
    content = {"schema": {"type": "object"}, "example": adapter.example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


for _adapter in ADAPTERS:
    if _adapter.pushes:
        router.post(
            f"/{_adapter.name}",
            summary=_adapter.title,
            operation_id=f"push_{_adapter.name.replace('-', '_')}",
            response_model=TelemetryOutcome,
            responses=document_problems(400, 401, 403, 404, 413, 415, 422, 429, 503),
            openapi_extra=_body(_adapter),
        )(_endpoint(_adapter))
