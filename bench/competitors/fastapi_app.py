"""A bare FastAPI application on the same database: uvicorn with httptools and uvloop, and an asyncpg pool.

It checks the key and lists sites with the two statements that this takes, and nothing more: no limits, no
tenant scope, no row-level security, no paging.
"""

import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from pydantic import BaseModel

_KEY: Final = "SELECT organisation_id, scopes, expires_at, revoked_at FROM api_keys WHERE hash = $1"
_SITES: Final = """
SELECT id, organisation_id, name, kind, timezone, longitude, latitude, retention_days, register_precision_m,
    address, open_data_licence, attributes, created_at, updated_at
FROM sites WHERE organisation_id = $1 ORDER BY id LIMIT $2
"""


class SitePoint(BaseModel):
    """A position."""

    type: str
    coordinates: list[float]


class SiteResponse(BaseModel):
    """A site, with the fields that Vigie's response has."""

    id: UUID
    organisation_id: UUID
    name: str
    kind: str
    timezone: str
    location: SitePoint
    retention_days: int | None
    register_precision_m: int
    address: str | None
    open_data_licence: str | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class SitePage(BaseModel):
    """A page of sites."""

    data: list[SiteResponse]
    next: str | None = None


async def find_organisation(request: Request, authorization: Annotated[str, Header()]) -> UUID:
    """Find the organisation of the key, or answer 401."""
    digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
    pool: asyncpg.Pool = request.app.state.pool
    found = await pool.fetchrow(_KEY, digest)
    if found is None or found["revoked_at"] is not None or "*" not in found["scopes"]:
        raise HTTPException(401)
    organisation: UUID = found["organisation_id"]
    return organisation


def create_app(database: str) -> FastAPI:
    """Build the application."""

    async def prepare(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database, min_size=4, max_size=10, init=prepare) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/sites")
    async def list_sites(
        request: Request,
        organisation: Annotated[UUID, Depends(find_organisation)],
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> SitePage:
        pool: asyncpg.Pool = request.app.state.pool
        rows = await pool.fetch(_SITES, organisation, limit + 1)
        return SitePage(
            data=[
                SiteResponse(
                    location=SitePoint(type="Point", coordinates=[row["longitude"], row["latitude"]]), **row
                )
                for row in rows[:limit]
            ]
        )

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1]),
        port=int(sys.argv[2]),
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
