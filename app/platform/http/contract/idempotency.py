"""Implements `Idempotency-Key`: a POST that is retried runs once, and gets the first response again.

Decides which responses are stored and in which order things happen;
`app.platform.http.contract.idempotency_keys` holds the table. Requests without the header cost nothing. Work
outside a session of `Database.write` (samples, quarantine replays) is not marked as executed: it is
idempotent itself.
"""

import asyncio
import json
import re
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.db.commit_steps import add_commit_step
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.http.contract import idempotency_keys
from app.platform.http.contract.buffered_response import BufferedResponse, buffer_response
from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SecretSealer, require_encryption_key

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
PATTERN: Final = "^[!-~]{1,255}$"

_log = get_logger(__name__)
_NAME: Final = HEADER.lower().encode()
_KEY: Final = re.compile(PATTERN)
_FAILED: Final = 500
_REFUSED: Final = 400


def has_idempotency_key(scope: Scope) -> bool:
    """Return whether a request has an idempotency key."""
    return any(name == _NAME for name, _ in scope["headers"])


def read_idempotency_key(request: Request) -> str:
    """Return the request's key, with or without the quotes of RFC 9651.

    Raises:
        InvalidError: `invalid_idempotency_key`, or it contains forbidden content.
    """
    given = request.headers.getlist(HEADER)
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise InvalidError(
            f"Send `{HEADER}` once, with 1 to 255 visible ASCII characters, such as a UUID.",
            code="invalid_idempotency_key",
        )
    # The key is stored as written, and no other check examines it.
    check_body(given[0])
    quoted = re.fullmatch('"(.+)"', given[0])
    return quoted[1] if quoted else given[0]


def refuse_idempotency_key(request: Request) -> None:
    """Reject an idempotency key on a route without a caller.

    Raises:
        InvalidError: `idempotency_key_not_taken`.
    """
    read_idempotency_key(request)
    raise InvalidError(
        f"This call needs no API key, so it accepts no `{HEADER}`. Send it without.",
        code="idempotency_key_not_taken",
    )


async def execute_once(app: ASGIApp, request: Request, principal: Principal, body: bytes, send: Send) -> None:
    """Execute a request once under its key, or send the stored response.

    Args:
        app: Answers the request.
        request: The request, whose body was read.
        principal: The caller.
        body: The bytes of the body.
        send: Sends the response.

    Raises:
        InvalidError: `invalid_idempotency_key`.
        ConflictError: see `idempotency_keys.claim_idempotency_key`.
        ForbiddenError: likewise.
        UnavailableError: `encryption_key_missing`.
    """
    key = read_idempotency_key(request)
    database, sealer = get_resource(request.app, Database), get_resource(request.app, SecretSealer)
    require_encryption_key(sealer)
    claim = await idempotency_keys.claim_idempotency_key(
        database, principal, key, _identity(request, body), sealer
    )
    if isinstance(claim, BufferedResponse):
        claim.headers.append((REPLAYED.lower().encode(), b"true"))
        await claim.send(send)
        return
    try:
        with add_commit_step(claim.mark):
            answer = await buffer_response(app, request.scope, _replay_body(body, request.receive))
    except (Exception, asyncio.CancelledError):
        # Cancelled by its deadline: uncommitted work stays uncommitted.
        await _settle(database, claim, sealer, None)
        raise
    await _settle(database, claim, sealer, answer)
    await answer.send(send)


async def _settle(
    database: Database,
    claim: idempotency_keys.IdempotencyClaim,
    sealer: SecretSealer,
    answer: BufferedResponse | None,
) -> None:
    """Store a response, or release its key. If neither succeeds, the response is sent nevertheless."""
    try:
        if answer is None or answer.status >= _FAILED:
            await claim.release(database)
        else:
            # A refusal changed nothing and can be repeated. Storing it would let clients fill the table with
            # requests for resources that do not exist.
            await claim.store_response(database, sealer, answer, anyway=answer.status < _REFUSED)
    except DATABASE_ERRORS as error:
        _log.warning("answer_not_kept", holder=str(claim.holder), error=repr(error))


def _identity(request: Request, body: bytes) -> bytes:
    """Return what a retry has in common with the first request, and no other request has."""
    scope = request.scope
    query = scope["query_string"].decode("latin-1")
    about = [scope["method"], scope["path"], query, request.headers.get("content-type", "")]
    return json.dumps(about).encode() + b"\n" + body


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers a body that was already read, then the client's next messages."""
    delivered = False

    async def replay() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
