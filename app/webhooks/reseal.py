"""Seals what is not sealed under the first key: secrets from before there were keys, and those of older keys.

Owns the walk over the endpoints; what is sealed, and to what it is bound, `secrets` knows. It also forgets
former secrets that sign no more. Nothing is ever lost here: what cannot be opened stays as it is.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from app.core.database import RawConnection
from app.core.observability import SECRETS_TO_SEAL, get_logger
from app.core.sealing import Sealer, SealError
from app.webhooks.secrets import alive, reseal_headers, reseal_secret

_log = get_logger(__name__)
_AT_ONCE: Final = 200
_FIRST: Final = UUID(int=0)
_NO_KEY: Final = "sealed:0:"  # nothing begins so

# Not against deliveries that are made for them meanwhile. Who changes one now is not waited for: next time.
_LOCK: Final = """
SELECT id, secret, former_secrets::text AS former_secrets, headers, now() AS now
FROM webhook_endpoints
WHERE id > $1 AND (NOT starts_with(secret, $2) OR NOT starts_with(headers, $2) OR former_secrets <> '[]')
ORDER BY id LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED
"""
_WRITE: Final = """
UPDATE webhook_endpoints SET secret = $2, former_secrets = $3::text::jsonb, headers = $4 WHERE id = $1
"""
_LEFT: Final = """
SELECT count(*) FILTER (WHERE NOT starts_with(secret, $1))
    + count(*) FILTER (WHERE NOT starts_with(headers, $1))
    + coalesce(sum((
        SELECT count(*) FROM jsonb_array_elements(former_secrets) AS former
        WHERE NOT starts_with(former ->> 'secret', $1)
    )), 0)::bigint
FROM webhook_endpoints
"""


class Resealer:
    """Keeps secrets under the newest key; remembers what it has complained of.

    Args:
        sealer: With all keys.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._told: set[UUID] = set()

    async def turn(self, connection: RawConnection) -> int:
        """Seal all that can be, some endpoints at a time; show and return how much is left.

        Args:
            connection: Outside a transaction.
        """
        current = self._sealer.current or _NO_KEY
        last: UUID | None = _FIRST
        while last is not None:
            async with connection.transaction():
                last = await self._slice(connection, last, current)
        left: int = await connection.fetchval(_LEFT, current)
        SECRETS_TO_SEAL.set(left)
        return left

    async def _slice(self, connection: RawConnection, after: UUID, current: str) -> UUID | None:
        """Seal those of the endpoints that come next; return the last one, None where there are no more."""
        rows = await connection.fetch(_LOCK, after, current, _AT_ONCE)
        for row in rows:
            before = (row["secret"], msgspec.json.decode(row["former_secrets"]), row["headers"])
            secret, former, headers = self._sealed(row["id"], *before, row["now"])
            if (secret, former, headers) != before:
                encoded = msgspec.json.encode(former).decode()
                await connection.execute(_WRITE, row["id"], secret, encoded, headers)
        return rows[-1]["id"] if len(rows) == _AT_ONCE else None

    def _sealed(
        self,
        endpoint_id: UUID,
        secret: str | None,
        former: list[dict[str, Any]],
        headers: str | None,
        now: datetime,
    ) -> tuple[str | None, list[dict[str, Any]], str | None]:
        kept = [
            {**each, "secret": self._try(reseal_secret, endpoint_id, each["secret"])}
            for each in alive(former, now)
        ]
        return (
            self._try(reseal_secret, endpoint_id, secret),
            kept,
            self._try(reseal_headers, endpoint_id, headers),
        )

    def _try(self, seal: Any, endpoint_id: UUID, stored: Any) -> Any:  # noqa: ANN401 (of the two, and theirs)
        """What is to be stored; what is stored, where that cannot be opened or there is no key."""
        if stored is None:
            return None
        try:
            return seal(self._sealer, endpoint_id, stored)
        except SealError as error:
            if endpoint_id not in self._told:
                self._told.add(endpoint_id)
                _log.warning("secret_not_sealed", endpoint_id=str(endpoint_id), error=str(error))
            return stored
