"""Writes the heads of the logs to the program's own log: where that is kept elsewhere, it is a witness.

A log that was rewritten as a whole fits together; only a head that was kept somewhere else shows it.
`vigie audit verify --heads` takes the program's log as it is.
"""

from uuid import UUID

import asyncpg

from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)


class HeadLogger:
    """Tells each head once, and again when it has moved."""

    def __init__(self) -> None:
        self._told: dict[UUID, int] = {}

    async def tell(self, connection: asyncpg.Connection) -> None:
        """Write those that have moved since the last time."""
        rows = await connection.fetch(
            "SELECT organisation_id, position, hash FROM audit_heads ORDER BY organisation_id"
        )
        for whose, position, digest in rows:
            if self._told.get(whose) != position:
                _log.info("audit_head", organisation_id=str(whose), position=position, hash=digest.hex())
                self._told[whose] = position
