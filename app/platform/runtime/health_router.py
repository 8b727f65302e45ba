"""Serves `/healthz`, `/readyz` and `/metrics`: liveness, state of dependencies, Prometheus metrics."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Literal

import aiomqtt
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app import __version__
from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.config.platform_settings import PlatformSettings
from app.platform.db import schema_upgrade
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.http.contract.operator_auth import is_operator_request, require_operator
from app.platform.http.contract.problems import document_problems
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import render_metrics
from app.platform.runtime.heartbeat import (
    BROKER_MONITOR,
    LIST_HEARTBEATS,
    STALE_S,
    WAITING,
    HeartbeatRow,
    instance_name,
)
from app.platform.runtime.release import current_commit

_PATIENCE_S = 2.0
_ROLES = ("ingest", "deliver", "maintain")
_NOT_WORKING = ("waiting", "starting", "standby")
_EDGES = """
SELECT count(*), count(*) FILTER (WHERE connected) FROM edges
WHERE seen_at > clock_timestamp() - make_interval(secs => :fresh_s)
"""


class Dependency(BaseModel):
    """A dependency of Vigie."""

    state: Literal["ok", "degraded", "failed"] = Field(
        description="`degraded`: it works, but needs attention"
    )
    required: bool = Field(description="Whether readiness needs it")
    detail: str = Field(description="Its fault, or its version")


class Health(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"
    version: str = Field(description="The version of Vigie that runs", examples=["0.2.0"])
    commit: str | None = Field(
        None,
        description="The commit of the build, with `-dirty` after local changes; null: unknown",
        examples=["1f0c2d7a9b3e"],
    )


class Readiness(BaseModel):
    """Ready when no required dependency has failed."""

    ready: bool
    dependencies: dict[str, Dependency]

    def without_details(self) -> "Readiness":
        """Return it without details, which name hosts, processes and faults, for anyone but the operator."""
        plain = {name: entry.model_copy(update={"detail": ""}) for name, entry in self.dependencies.items()}
        return Readiness(ready=self.ready, dependencies=plain)


def find_database_fault(beats: Sequence[HeartbeatRow], instance: str) -> str:
    """Return a fault of the database that heartbeats show; empty where there is none.

    A successful query is not enough: other processes' connections may hang, or a full disk may refuse their
    writes. But one of several workers may wait because of its own machine, and the APIs of all machines read
    the same heartbeats: while another worker of its role works, the database does. A silent process says
    nothing about the database, as it may have been killed, except this process, which runs.

    Args:
        beats: all heartbeats.
        instance: this process's name.
    """
    working = {beat.role for beat in beats if beat.fresh and not beat.state.startswith(_NOT_WORKING)}
    for beat in beats:
        counts = beat.role not in working or beat.instance == instance
        if beat.fresh and beat.state.startswith(WAITING) and counts:
            return f"{beat.role} ({beat.instance}) is {beat.state}"
        if beat.instance == instance and beat.role == "api" and not beat.fresh:
            return f"it has taken no heartbeat of this process for {beat.age_s:.0f} s"
    return ""


def find_role_fault(beats: Sequence[HeartbeatRow], role: str) -> str:
    """Return why a process role does not work; empty where at least one of its processes works."""
    mine = [beat for beat in beats if beat.role == role]
    if not mine:
        return "not running"
    states = [beat.state for beat in mine if beat.fresh]
    if not states:
        return f"silent for {min(beat.age_s for beat in mine):.0f} s"
    if any(not state.startswith(_NOT_WORKING) for state in states):
        return ""
    # A process that gives a reason is more useful than a standby behind it.
    reason = next((state for state in states if state != "standby"), None)
    return (
        f"is {reason}"
        if reason
        else "is only on standby: the process that held its lock ended, but the lock remains"
    )


def find_broker_warning(beats: Sequence[HeartbeatRow]) -> str:
    """Return a warning of a broker's monitor; empty where there is none."""
    states = (beat.state for beat in beats if beat.role == BROKER_MONITOR and beat.fresh)
    return next(filter(None, states), "")


class ReadinessProbe:
    """Checks the dependencies, at most once a second, however often `/readyz` is called.

    Args:
        settings: the broker's address, and the required dependencies.
        database: the connections to check.
        patience_s: timeout of each check, in seconds.
        has_edges: whether the installation has several brokers. Then `broker` stands for their edges, of
            which at least one must have reported lately that it is connected to its broker.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        database: Database,
        *,
        patience_s: float = _PATIENCE_S,
        has_edges: bool = False,
    ) -> None:
        self._settings = settings
        self._database = database
        self._patience_s = patience_s
        self._has_edges = has_edges
        self._lock = asyncio.Lock()
        self._checked_at = 0.0
        self._cached: Readiness | None = None

    async def readiness(self) -> Readiness:
        """Return the state of all dependencies, at most a second old."""
        async with self._lock:
            if self._cached is None or time.monotonic() - self._checked_at > 1.0:
                self._cached = await self._check()
                self._checked_at = time.monotonic()
            return self._cached

    async def _check(self) -> Readiness:
        (faults, warning), broker = await asyncio.gather(self._check_database(), self._check_broker())
        required = set(self._settings.api.ready_requires)
        dependencies = {
            name: Dependency(state="failed" if fault else "ok", required=name in required, detail=fault)
            for name, fault in {**faults, "broker": broker}.items()
        }
        if warning and not broker:
            dependencies["broker"].state, dependencies["broker"].detail = "degraded", warning
        ready = all(entry.state != "failed" for entry in dependencies.values() if entry.required)
        return Readiness(ready=ready, dependencies=dependencies)

    async def _check_database(self) -> tuple[dict[str, str], str]:
        """Return name → fault, empty where all is well; and the broker's warning."""
        try:
            async with asyncio.timeout(self._patience_s), self._database.read() as session:
                fault = await schema_upgrade.find_schema_fault(session)
                if await schema_upgrade.read_current_revision(session) is None:
                    unknown = dict.fromkeys(_ROLES, "unknown: the database is not migrated")
                    return {"database": "", "migrations": fault, **unknown}, ""
                beats = [HeartbeatRow(*row) for row in await session.execute(text(LIST_HEARTBEATS))]
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return dict.fromkeys(("database", "migrations", *_ROLES), self._named(error)), ""
        faults = {
            "database": find_database_fault(beats, instance_name()),
            "migrations": fault,
            **{role: find_role_fault(beats, role) for role in _ROLES},
        }
        return faults, find_broker_warning(beats)

    async def _check_edges(self) -> str:
        try:
            # Edges belong to no tenant, and whoever asks has no scope.
            with run_with_full_scope():
                async with asyncio.timeout(self._patience_s), self._database.read() as session:
                    found = await session.execute(text(_EDGES), {"fresh_s": STALE_S})
                    reporting, connected = found.one()
        except DATABASE_ERRORS as error:
            return f"unknown: {self._named(error)}"
        if not reporting:
            return f"no edge has reported within {STALE_S:g} s"
        return "" if connected else "no edge is connected to its broker"

    async def _check_broker(self) -> str:
        if self._has_edges:
            return await self._check_edges()
        try:
            async with asyncio.timeout(self._patience_s):
                async with make_broker_client(self._settings.broker, timeout_s=self._patience_s):
                    return ""
        except (aiomqtt.MqttError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"

    def _named(self, error: Exception) -> str:
        """Return an error's name without its text, which can contain the database's address."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._patience_s:g} s"
        cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else None
        return type(cause or error).__name__


router = APIRouter()


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    """Redirect browsers to the documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", tags=["Service"], summary="Is the process alive?", operation_id="get_health")
async def healthz() -> Health:
    """Answer 200 as long as the process can answer."""
    if not current_commit.cache_info().currsize:
        # The first time it may have to run git.
        await asyncio.to_thread(current_commit)
    return Health(version=__version__, commit=current_commit())


@router.get(
    "/readyz",
    tags=["Service"],
    summary="Can it serve?",
    operation_id="get_readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "A required dependency has failed"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Return the state of each dependency; 503 when a required one has failed.

    `detail` is empty unless you may read `/metrics`.
    """
    readiness = await get_resource(request.app, ReadinessProbe).readiness()
    if not is_operator_request(request):
        readiness = readiness.without_details()
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503)


@router.get(
    "/metrics",
    tags=["Service"],
    summary="Prometheus metrics",
    operation_id="get_prometheus_metrics",
    response_class=Response,
    response_description="Prometheus' text format",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **document_problems(401, 403),
    },
)
async def prometheus(_: Annotated[None, Depends(require_operator)]) -> Response:
    """Return this process's metrics; in the embedded stack, those of all processes.

    Send the token of `VIGIE_API__METRICS_TOKEN`. If none is set, only clients on the same machine may read
    them.
    """
    return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
