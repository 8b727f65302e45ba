"""Stores each idempotency key with its request and the encrypted response to it.

A request claims its key in a separate transaction. The transaction of its change marks the claim as executed,
so that both commit or neither. The response is stored afterwards, encrypted, as it can contain secrets that
are shown once. If a process dies before its change, the key is free again after `LEASE`; a request that lost
its claim cannot commit. Independent of HTTP.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, SmallInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base, Database, RawConnection, WriteSession, parse_row_count
from app.platform.http.contract.buffered_response import BufferedResponse
from app.platform.kernel.errors import ConflictError, ForbiddenError
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealed_columns import IDEMPOTENCY_ANSWER
from app.platform.secrets.sealing import SealingError, SecretSealer

if TYPE_CHECKING:
    from app.platform.identity.caller_authentication import Principal  # avoids an import of HTTP at run time

RETENTION: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=90)
"""How long a request may hold its key before its first commit; then another may take the key.

After a commit, the time until its response counts as lost. Longer than the default of `api.deadline_s`.
"""

RETRY_S: Final = 1
"""Seconds after which to retry while the first request is still running."""

_log = get_logger(__name__)
_Instant = TIMESTAMP(timezone=True)
_MINE: Final = "organisation_id = :organisation_id AND caller_id = :caller_id AND key = :key"
# An expired key counts as absent; an abandoned one is taken over.
_CLAIM: Final = text("""
INSERT INTO idempotency_keys AS k
    (organisation_id, caller_id, key, fingerprint, state, holder, claimed_at, created_at, expires_at)
VALUES (:organisation_id, :caller_id, :key, :fingerprint, 'running', :holder, now(), now(),
    now() + :retention)
ON CONFLICT (organisation_id, caller_id, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, state = 'running', holder = excluded.holder, claimed_at = now(),
    created_at = now(), expires_at = excluded.expires_at, status = NULL, answer = NULL
WHERE k.expires_at <= now()
    OR k.state = 'running' AND k.claimed_at <= now() - :lease AND k.fingerprint = ANY (:known)
RETURNING true
""").bindparams(bindparam("known", type_=ARRAY(LargeBinary)), retention=RETENTION, lease=LEASE)
_READ: Final = text(
    "SELECT fingerprint, state, holder, status, answer, claimed_at > now() - :lease AS held "  # noqa: S608 (names of ours)
    f"FROM idempotency_keys WHERE {_MINE}"
).bindparams(lease=LEASE)
_MARK: Final = text(
    "UPDATE idempotency_keys SET state = 'carried_out', claimed_at = clock_timestamp() "  # noqa: S608 (names of ours)
    f"WHERE {_MINE} AND holder = :holder RETURNING true"
)
_STORE: Final = text(
    "UPDATE idempotency_keys SET state = 'answered', status = :status, answer = :answer "  # noqa: S608 (names of ours)
    f"WHERE {_MINE} AND holder = :holder AND (:anyway OR state = 'carried_out')"
)
_RELEASE: Final = text(
    f"DELETE FROM idempotency_keys WHERE {_MINE} AND holder = :holder AND state = 'running'"  # noqa: S608 (names of ours)
)


class IdempotencyKey(Base):
    """A key that a caller used, with its state and response.

    `running`: claimed, nothing committed. `carried_out`: the change is committed. `answered`: the response is
    stored too.
    """

    __tablename__ = "idempotency_keys"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    caller_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text)
    holder: Mapped[UUID]
    claimed_at: Mapped[datetime] = mapped_column(_Instant)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """The right to execute the request of a key.

    Attributes:
        organisation_id: the caller's organisation.
        caller_id: id of the API key or the person.
        key: the client's key.
        holder: id of this attempt.
        rights: the caller's rights: a caller who lost some of them does not get the response.
    """

    organisation_id: UUID
    caller_id: UUID
    key: str
    holder: UUID
    rights: Mapping[str, Any]

    @property
    def row(self) -> tuple[UUID, UUID, str]:
        """The primary key of its row."""
        return self.organisation_id, self.caller_id, self.key

    def values(self) -> dict[str, Any]:
        """Return the parameters of statements."""
        return {
            "organisation_id": self.organisation_id,
            "caller_id": self.caller_id,
            "key": self.key,
            "holder": self.holder,
        }

    async def mark(self, session: WriteSession) -> None:
        """Mark the request as executed, in the transaction of its change.

        Raises:
            ConflictError: `idempotency_key_in_use`: it took too long, and another request holds the key.
        """
        if not await session.scalar(_MARK, self.values()):
            raise make_key_in_use_error()

    async def store_response(
        self, database: Database, sealer: SecretSealer, answer: BufferedResponse, *, anyway: bool
    ) -> None:
        """Store the response for retries.

        Args:
            database: Opens a transaction.
            sealer: Encrypts; it has a key.
            answer: The response.
            anyway: Whether to store it if nothing was committed; otherwise the key is released in that case.
        """
        sealed = IDEMPOTENCY_ANSWER.seal(sealer, _written(answer, self.rights), *self.row)
        values = {**self.values(), "status": answer.status, "answer": sealed, "anyway": anyway}
        async with database.write() as session:
            await session.execute(_STORE, values)
            if not anyway:
                await session.execute(_RELEASE, self.values())

    async def release(self, database: Database) -> None:
        """Release the key, unless something was committed under it."""
        async with database.write() as session:
            await session.execute(_RELEASE, self.values())


async def claim_idempotency_key(
    database: Database, principal: "Principal", key: str, request: bytes, sealer: SecretSealer
) -> IdempotencyClaim | BufferedResponse:
    """Claim a key, or return the response that is stored under it.

    Args:
        database: Opens transactions.
        principal: The caller. Each caller has a separate set of keys.
        key: The validated key.
        request: What a retry has in common with the first request, and no other request has.
        sealer: Decrypts; it has a key.

    Raises:
        ConflictError: `idempotency_key_reused` for another request, `idempotency_key_in_use` while the first
            one runs, `idempotency_outcome_unknown` where it was executed and its response is lost.
        ForbiddenError: `idempotency_rights_lost`: the caller has fewer rights than then.
    """
    claim = IdempotencyClaim(principal.organisation_id, principal.key_id, key, new_id(), principal.rights())
    values = claim.values()
    # Fingerprints under older encryption keys too.
    known = sealer.fingerprints(request)
    while True:
        async with database.write() as session:
            claimed = await session.scalar(_CLAIM, {**values, "fingerprint": known[0], "known": known})
            if claimed:
                return claim
            found = (await session.execute(_READ, values)).one_or_none()
        if found is not None:
            break
        # Another request released it between the two statements.
    if found.answer is not None:
        try:
            response, rights = _read(found.status, IDEMPOTENCY_ANSWER.open(sealer, found.answer, *claim.row))
        except SealingError as error:
            _log.warning("kept_answer_cannot_be_opened", holder=str(found.holder), error=str(error))
            raise _make_outcome_unknown_error() from None
    if found.fingerprint not in known:
        raise _make_key_reused_error()
    if found.answer is not None:
        if not principal.still_has(rights):
            raise ForbiddenError(
                f"{principal.called} has fewer rights than when this request ran: its response is not shown.",
                code="idempotency_rights_lost",
            )
        return response
    if found.state == "running" or found.held:
        raise make_key_in_use_error()
    raise _make_outcome_unknown_error()


def make_key_in_use_error() -> ConflictError:
    """Make the error for a retry while the first request is still running."""
    error = ConflictError(
        "The first request with this Idempotency-Key is still running. Retry to get its response.",
        code="idempotency_key_in_use",
    )
    error.retry_after_s = RETRY_S
    return error


def _make_key_reused_error() -> ConflictError:
    return ConflictError(
        "This Idempotency-Key was used for another request, with another path, query, content type or "
        "body. Use a new key for each request.",
        code="idempotency_key_reused",
    )


def _make_outcome_unknown_error() -> ConflictError:
    return ConflictError(
        "The request was executed, but its response is lost. Look for its result before you send it again "
        "under a new key. If the response contained a secret, create a new one.",
        code="idempotency_outcome_unknown",
    )


async def delete_expired_keys(connection: RawConnection) -> int:
    """Delete expired keys and return their number."""
    tag = await connection.execute("DELETE FROM idempotency_keys WHERE expires_at <= now()")
    return parse_row_count(tag)


def _written(answer: BufferedResponse, rights: Mapping[str, Any]) -> str:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    body = base64.b64encode(answer.body).decode()
    return json.dumps({"headers": headers, "body": body, "rights": dict(rights)})


def _read(status: int, written: str) -> tuple[BufferedResponse, dict[str, Any]]:
    stored = json.loads(written)
    if "rights" not in stored:
        # Stored by a version that did not record rights: it is not shown.
        raise _make_outcome_unknown_error()
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stored["headers"]]
    return BufferedResponse(status, headers, base64.b64decode(stored["body"])), stored["rights"]
