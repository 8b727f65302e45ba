"""The log as it is in the database."""

import json
from typing import Any
from uuid import UUID

import asyncpg


async def entries(connection: asyncpg.Connection, organisation: str) -> list[dict[str, Any]]:
    """The records of an organisation's log, in their order."""
    rows = await connection.fetch(
        "SELECT record FROM audit_log WHERE organisation_id = $1 ORDER BY position", UUID(organisation)
    )
    return [json.loads(row["record"]) for row in rows]


async def last(connection: asyncpg.Connection, organisation: str) -> dict[str, Any]:
    """The newest record."""
    return (await entries(connection, organisation))[-1]


async def actions(connection: asyncpg.Connection, organisation: str) -> list[str]:
    """What was done, in its order."""
    return [entry["action"] for entry in await entries(connection, organisation)]
