"""Is this process fit to serve? What `/readyz` answers: the state of each thing it depends on."""

import asyncio
import time
from typing import Literal

import aiomqtt
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core import migrate
from app.core.broker import broker_client
from app.core.database import Database
from app.core.heartbeat import STALE_S
from app.core.settings import Settings

_PATIENCE_S = 2.0
_ROLES = ("ingest", "deliver", "maintain")
# The server's clock on both sides; the last row of a role is its freshest instance.
_BEATS = "SELECT role, state, extract(epoch FROM now() - at) FROM heartbeats ORDER BY at"


class Dependency(BaseModel):
    """One thing that Vigie depends on."""

    state: Literal["ok", "failed"]
    required: bool = Field(description="Whether readiness needs it")
    detail: str


class Readiness(BaseModel):
    """Ready when every required dependency is ok."""

    ready: bool
    dependencies: dict[str, Dependency]


class Probe:
    """Asks the dependencies, at most once a second, however often `/readyz` is called."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = asyncio.Lock()
        self._asked = 0.0
        self._answer: Readiness | None = None

    async def readiness(self) -> Readiness:
        """The state of everything, not older than a second."""
        async with self._lock:
            if self._answer is None or time.monotonic() - self._asked > 1.0:
                self._answer = await self._ask()
                self._asked = time.monotonic()
            return self._answer

    async def _ask(self) -> Readiness:
        database, broker = await asyncio.gather(self._ask_database(), self._ask_broker())
        found = {**database, "broker": broker}
        required = set(self._settings.api.ready_requires)
        dependencies = {
            name: Dependency(state="failed" if fault else "ok", required=name in required, detail=fault or "")
            for name, fault in found.items()
        }
        ready = all(entry.state == "ok" for entry in dependencies.values() if entry.required)
        return Readiness(ready=ready, dependencies=dependencies)

    async def _ask_database(self) -> dict[str, str]:
        """Name → fault, empty where all is well."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._database.read() as session:
                revision = await migrate.current(session)
                if revision is None:
                    return {"database": "", "migrations": "not migrated: run `vigie migrate`"}
                expected = migrate.head()
                stale = (
                    ""
                    if revision == expected
                    else f"is at {revision}, should be at {expected}: run `vigie migrate`"
                )
                rows = await session.execute(text(_BEATS))
                beats = {role: (state, float(age)) for role, state, age in rows}
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            fault = (
                f"no answer within {_PATIENCE_S:g} s"
                if isinstance(error, TimeoutError)
                else type(error).__name__
            )
            return dict.fromkeys(("database", "migrations", *_ROLES), fault)
        return {
            "database": "",
            "migrations": stale,
            **{role: _beat_fault(beats.get(role)) for role in _ROLES},
        }

    async def _ask_broker(self) -> str:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async with broker_client(self._settings.broker, timeout_s=_PATIENCE_S):
                    return ""
        except (aiomqtt.MqttError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"


def _beat_fault(beat: tuple[str, float] | None) -> str:
    if beat is None:
        return "not running"
    state, age_s = beat
    if age_s > STALE_S:
        return f"silent for {age_s:.0f} s"
    return f"is {state}" if state.startswith(("waiting", "starting")) else ""
