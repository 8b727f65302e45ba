"""`Idempotency-Key`: a POST that is sent again is carried out once, and gets the first answer.

Owns the header, which answers are kept, and the order of things;
`app.platform.http.contract.idempotency_keys` has the table. Requests without the header cost nothing. What
is carried out without a session of `Database.write` (samples, replays of the quarantine) is not marked: it
is harmless twice.
"""

import asyncio
import json
import re
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.db.database import DATABASE_ERRORS, Database, add_commit_step
from app.platform.http.contract import idempotency_keys
from app.platform.http.contract.body_scanner import check_body
from app.platform.http.contract.buffered_response import BufferedResponse, buffer_response
from app.platform.identity.principals import Principal
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
    """Tell whether a request names a key."""
    return any(name == _NAME for name, _ in scope["headers"])


def read_idempotency_key(request: Request) -> str:
    """The key that a request names, in either form: as it is, or in the quotes of RFC 9651.

    Raises:
        InvalidError: `invalid_idempotency_key`; it carries what must never enter.
    """
    given = request.headers.getlist(HEADER)
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise InvalidError(
            f"`{HEADER}` is given once, with 1 to 255 visible ASCII characters: a UUID, say.",
            code="invalid_idempotency_key",
        )
    # It is kept as it was written: no other text is that nobody has looked at.
    check_body(given[0])
    quoted = re.fullmatch('"(.+)"', given[0])
    return quoted[1] if quoted else given[0]


def refuse_idempotency_key(request: Request) -> None:
    """Refuse a key where there is no caller whose it could be.

    Raises:
        InvalidError: `idempotency_key_not_taken`.
    """
    read_idempotency_key(request)
    raise InvalidError(
        f"This call is made without an API key, and takes no `{HEADER}`: its answer would be anybody's.",
        code="idempotency_key_not_taken",
    )


async def execute_once(app: ASGIApp, request: Request, principal: Principal, body: bytes, send: Send) -> None:
    """Have a request answered once under its key, or answer it as it was answered before.

    Args:
        app: Answers it.
        request: The request, whose body was read.
        principal: The caller.
        body: The bytes of the body.
        send: Takes the answer.

    Raises:
        InvalidError: `invalid_idempotency_key`.
        ConflictError: as `idempotency_keys.claim` says.
        ForbiddenError: the same.
        UnavailableError: `encryption_key_missing`.
    """
    key = read_idempotency_key(request)
    database: Database = request.app.state.database
    sealer: SecretSealer = request.app.state.sealer
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
            answer = await buffer_response(app, request.scope, _again(body, request.receive))
    except (Exception, asyncio.CancelledError):
        # Cancelled: it took too long. What it had not committed by then it never will.
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
    """Keep an answer, or free its key. Where neither can be done the answer goes out all the same."""
    try:
        if answer is None or answer.status >= _FAILED:
            await claim.release(database)
        else:
            # A refusal changed nothing, and may be asked for again: kept, whoever asks for what is not there
            # would fill the table.
            await claim.keep(database, sealer, answer, anyway=answer.status < _REFUSED)
    except DATABASE_ERRORS as error:
        _log.warning("answer_not_kept", holder=str(claim.holder), error=repr(error))


def _identity(request: Request, body: bytes) -> bytes:
    """What is the same of a repeat, and of no other request."""
    scope = request.scope
    query = scope["query_string"].decode("latin-1")
    about = [scope["method"], scope["path"], query, request.headers.get("content-type", "")]
    return json.dumps(about).encode() + b"\n" + body


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more; then what the client does."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
