"""What is kept of POSTs with an `Idempotency-Key`: who carries one out, and the sealed answer.

A request claims its key in a transaction of its own. The transaction of its change marks the claim as carried
out, so that the two are committed together or not at all. The answer is kept afterwards: it can hold secrets
that are shown once, and is sealed. A claim whose process died before its change is free again after `LEASE`;
whoever holds it no longer cannot commit any more. Must not know HTTP.
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

from app.platform.db.database import Base, Database, RawConnection, WriteSession
from app.platform.http.contract.buffered_response import BufferedResponse
from app.platform.kernel.errors import ConflictError, ForbiddenError
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealed_columns import IDEMPOTENCY_ANSWER
from app.platform.secrets.sealing import SealingError, SecretSealer

if TYPE_CHECKING:
    from app.platform.identity.principals import Principal  # it knows HTTP, and this does not

KEPT_FOR: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=90)
"""How long a request may hold its key before its first commit, when another one may take it; and after a
commit, when its answer counts as lost. More than `api.deadline_s` by default."""

RETRY_S: Final = 1
"""When to ask again for a request that is still carried out."""

_log = get_logger(__name__)
_Instant = TIMESTAMP(timezone=True)
_MINE: Final = "organisation_id = :organisation_id AND caller_id = :caller_id AND key = :key"
# What has expired is as if it were not there; what nobody works on any more is taken over.
_CLAIM: Final = text("""
INSERT INTO idempotency_keys AS k
    (organisation_id, caller_id, key, fingerprint, state, holder, claimed_at, created_at, expires_at)
VALUES (:organisation_id, :caller_id, :key, :fingerprint, 'running', :holder, now(), now(), now() + :kept_for)
ON CONFLICT (organisation_id, caller_id, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, state = 'running', holder = excluded.holder, claimed_at = now(),
    created_at = now(), expires_at = excluded.expires_at, status = NULL, answer = NULL
WHERE k.expires_at <= now()
    OR k.state = 'running' AND k.claimed_at <= now() - :lease AND k.fingerprint = ANY (:known)
RETURNING true
""").bindparams(bindparam("known", type_=ARRAY(LargeBinary)), kept_for=KEPT_FOR, lease=LEASE)
_READ: Final = text(
    "SELECT fingerprint, state, holder, status, answer, claimed_at > now() - :lease AS held "  # noqa: S608 (names of ours)
    f"FROM idempotency_keys WHERE {_MINE}"
).bindparams(lease=LEASE)
_MARK: Final = text(
    "UPDATE idempotency_keys SET state = 'carried_out', claimed_at = clock_timestamp() "  # noqa: S608 (names of ours)
    f"WHERE {_MINE} AND holder = :holder RETURNING true"
)
_KEEP: Final = text(
    "UPDATE idempotency_keys SET state = 'answered', status = :status, answer = :answer "  # noqa: S608 (names of ours)
    f"WHERE {_MINE} AND holder = :holder AND (:anyway OR state = 'carried_out')"
)
_RELEASE: Final = text(
    f"DELETE FROM idempotency_keys WHERE {_MINE} AND holder = :holder AND state = 'running'"  # noqa: S608 (names of ours)
)


class IdempotencyKey(Base):
    """A key that a caller used, and what came of it.

    `running`: claimed, nothing committed. `carried_out`: the change is committed. `answered`: the answer is
    kept too.
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
    """The right to carry out the request of a key.

    Attributes:
        organisation_id: the caller's.
        caller_id: the API key's id, or the person's.
        key: what the client named.
        holder: this attempt's own id.
        rights: the caller's: who has less of them later is not shown the answer.
    """

    organisation_id: UUID
    caller_id: UUID
    key: str
    holder: UUID
    rights: Mapping[str, Any]

    @property
    def row(self) -> tuple[UUID, UUID, str]:
        """What it has its row by."""
        return self.organisation_id, self.caller_id, self.key

    def values(self) -> dict[str, Any]:
        """What statements take."""
        return {
            "organisation_id": self.organisation_id,
            "caller_id": self.caller_id,
            "key": self.key,
            "holder": self.holder,
        }

    async def mark(self, session: WriteSession) -> None:
        """Say, in the transaction of the change, that it is carried out.

        Raises:
            ConflictError: `idempotency_key_in_use`: it took too long, and another request has the key.
        """
        if not await session.scalar(_MARK, self.values()):
            raise make_key_in_use_error()

    async def keep(
        self, database: Database, sealer: SecretSealer, answer: BufferedResponse, *, anyway: bool
    ) -> None:
        """Keep the answer for those who ask again.

        Args:
            database: For a transaction.
            sealer: Ready.
            answer: It.
            anyway: Also where nothing was committed; else the key is free again in that case.
        """
        sealed = IDEMPOTENCY_ANSWER.seal(sealer, _written(answer, self.rights), *self.row)
        values = {**self.values(), "status": answer.status, "answer": sealed, "anyway": anyway}
        async with database.write() as session:
            await session.execute(_KEEP, values)
            if not anyway:
                await session.execute(_RELEASE, self.values())

    async def release(self, database: Database) -> None:
        """Free the key, unless something was committed under it."""
        async with database.write() as session:
            await session.execute(_RELEASE, self.values())


async def claim_idempotency_key(
    database: Database, principal: "Principal", key: str, request: bytes, sealer: SecretSealer
) -> IdempotencyClaim | BufferedResponse:
    """Claim a key, or give the answer that is kept under it.

    Args:
        database: For transactions.
        principal: The caller: keys of others are other keys.
        key: Checked.
        request: What is the same for a repeat, and for no other request.
        sealer: Ready.

    Raises:
        ConflictError: `idempotency_key_reused` for another request, `idempotency_key_in_use` while the first
            one runs, `idempotency_outcome_unknown` where it was carried out and its answer is lost.
        ForbiddenError: `idempotency_rights_lost`: the caller may do less than it could then.
    """
    wanted = IdempotencyClaim(principal.organisation_id, principal.key_id, key, new_id(), principal.rights())
    values = wanted.values()
    # Of a key that was replaced meanwhile too.
    known = sealer.fingerprints(request)
    while True:
        async with database.write() as session:
            claimed = await session.scalar(_CLAIM, {**values, "fingerprint": known[0], "known": known})
            if claimed:
                return wanted
            found = (await session.execute(_READ, values)).one_or_none()
        if found is not None:
            break
        # Whoever had it let go of it between the two statements.
    if found.answer is not None:
        try:
            kept, rights = _read(found.status, IDEMPOTENCY_ANSWER.open(sealer, found.answer, *wanted.row))
        except SealingError as error:
            _log.warning("kept_answer_cannot_be_opened", holder=str(found.holder), error=str(error))
            raise _lost() from None
    if found.fingerprint not in known:
        raise ConflictError(
            "The Idempotency-Key was used for another request: another path, query, content type or body. "
            "Take a new key for each request.",
            code="idempotency_key_reused",
        )
    if found.answer is not None:
        if not principal.still_has(rights):
            raise ForbiddenError(
                f"{principal.called} may do less than when this was carried out: its answer is not shown.",
                code="idempotency_rights_lost",
            )
        return kept
    if found.state == "running" or found.held:
        raise make_key_in_use_error()
    raise _lost()


def make_key_in_use_error() -> ConflictError:
    """The refusal of a request whose twin is still carried out."""
    error = ConflictError(
        "The first request with this Idempotency-Key is still carried out: ask again for its answer.",
        code="idempotency_key_in_use",
    )
    error.retry_after_s = RETRY_S
    return error


def _lost() -> ConflictError:
    return ConflictError(
        "The request was carried out, but its answer is lost. Look for what it made before you send it again "
        "under a new key; a secret that was shown in the answer has to be made anew.",
        code="idempotency_outcome_unknown",
    )


async def delete_expired_keys(connection: RawConnection) -> int:
    """Remove what has expired; return how much that was."""
    tag = await connection.execute("DELETE FROM idempotency_keys WHERE expires_at <= now()")
    return int(tag.rpartition(" ")[2])


def _written(answer: BufferedResponse, rights: Mapping[str, Any]) -> str:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    body = base64.b64encode(answer.body).decode()
    return json.dumps({"headers": headers, "body": body, "rights": dict(rights)})


def _read(status: int, written: str) -> tuple[BufferedResponse, dict[str, Any]]:
    stored = json.loads(written)
    if "rights" not in stored:
        # Kept by a version that did not note whose it could be: it is not shown.
        raise _lost()
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stored["headers"]]
    return BufferedResponse(status, headers, base64.b64decode(stored["body"])), stored["rights"]
