"""Serves the state of all machines of the installation over REST, for administrators of the platform."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final

import asyncpg
from fastapi import APIRouter, Depends, Path
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.cluster_status.log_monitor import LogMonitor
from app.cluster_status.schemas import ClusterOut
from app.cluster_status.snapshot import (
    DATABASE_TIMEOUT_S,
    InstallationRows,
    read_installation_rows,
    read_snapshot,
)
from app.cluster_status.views import build_cluster
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import list_edges, remove_edge
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import DATABASE_ERRORS, Database, get_driver_connection
from app.platform.db.standby_reads import StandbyReads
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency, WriteSessionDep
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import ConflictError, ForbiddenError, NotFoundError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.dependencies import OrganisationsReader, OrganisationsWriter

router: Final = APIRouter(prefix="/v1/cluster", tags=["Service"])
_log = get_logger(__name__)
_ROLE: Final = "vigie_api"


def _check_administrator(principal: Principal) -> Principal:
    if not principal.platform:
        raise ForbiddenError("Only administrators of the platform can see and change its machines.")
    return principal


async def _reader(principal: OrganisationsReader) -> Principal:
    return _check_administrator(principal)


async def _writer(principal: OrganisationsWriter) -> Principal:
    return _check_administrator(principal)


_Log = Annotated[MessageLogSettings, Depends(make_resource_dependency(MessageLogSettings))]
_Monitor = Annotated[LogMonitor, Depends(make_resource_dependency(LogMonitor))]
_DatabaseSettings = Annotated[DatabaseSettings, Depends(make_resource_dependency(DatabaseSettings))]
_StandbyReads = Annotated[StandbyReads, Depends(make_resource_dependency(StandbyReads))]
_EdgeName = Annotated[
    str, Path(min_length=1, max_length=255, description="The name of the edge", examples=["edge-c"])
]


async def _begin(session: AsyncSession) -> asyncpg.Connection:
    """Begin the transaction, and with it the caller's scope, which only SQLAlchemy's first statement does."""
    await session.execute(text("SELECT"))
    return await get_driver_connection(session)


async def _read_rows(database: Database) -> InstallationRows | None:
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), database.read() as session:
            return await read_installation_rows(await _begin(session))
    except DATABASE_ERRORS as error:
        _log.warning("cluster_not_read", error=repr(error))
        return None


@router.get("", summary="Read the state of all machines", responses=document_problems(403))
async def get_cluster(
    principal: Annotated[Principal, Depends(_reader)],  # noqa: ARG001 (who may)
    *,
    database: DatabaseDependency,
    settings: _DatabaseSettings,
    log: _Log,
    monitor: _Monitor,
    standby_reads: _StandbyReads,
) -> ClusterOut:
    """Read the state of edges, partitions of the log, workers, database hosts and processes.

    Works with one broker and one database too: `mode` is `single` then. The answer takes about two seconds
    at most. What cannot be read in this time is empty or null, and named in `problems` with what to do.
    """
    snapshot = await read_snapshot(
        _read_rows(database), log, monitor, database_url=settings.url, database_role=_ROLE
    )
    return ClusterOut.model_validate(build_cluster(snapshot, datetime.now(UTC), standby_reads.state))


@router.delete(
    "/edges/{name}",
    status_code=204,
    summary="Remove an edge",
    responses=document_problems(403, 404, 409),
)
async def delete_cluster_edge(
    name: _EdgeName,
    principal: Annotated[Principal, Depends(_writer)],  # noqa: ARG001 (who may)
    session: WriteSessionDep,
) -> None:
    """Remove an edge that is gone for good.

    While an edge is listed, other processes try to publish acknowledgements and alerts at its broker. An edge
    that reports is in use: 409 `edge_is_alive`. Stop its process first, and wait ten seconds. An edge that
    starts again lists itself.
    """
    connection = await _begin(session)
    if await remove_edge(connection, name):
        return
    if any(edge.name == name for edge in await list_edges(connection)):
        raise ConflictError(
            f"The edge {name} still reports. Stop its process first, and wait ten seconds.",
            code="edge_is_alive",
        )
    raise NotFoundError("edge", name)
