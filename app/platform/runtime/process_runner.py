"""How a role runs in the foreground: logging, uvloop, signals, heartbeat, metrics; then its own work."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

from app.platform.config.settings import VigieSettings
from app.platform.db.database import Database
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.platform.runtime.heartbeat import run_heartbeat

_log = get_logger(__name__)
# Together less than the 15 seconds in which a whole stack has to end.
_DRAIN_S = 11.0
_CANCEL_S = 1.0
_CLOSE_S = 2.0


@dataclass(slots=True)
class ProcessContext:
    """What a role's work is given.

    Attributes:
        name: api, ingest, deliver or maintain.
        settings: the whole configuration.
        database: open connections.
        stop: set by SIGTERM or SIGINT: drain, then return.
        state: a word for its heartbeat; the work keeps it up to date.
    """

    name: str
    settings: VigieSettings
    database: Database
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    state: str = "starting"

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the role is told to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


ProcessWork = Callable[[ProcessContext], Awaitable[None]]


async def _nothing() -> None:
    """End what was not begun."""


async def _serve_metrics(role: ProcessContext) -> Callable[[], Awaitable[None]]:
    if not role.settings.metrics_port:
        return _nothing
    from app.platform.runtime.metrics_server import serve_metrics  # noqa: PLC0415 (loading it costs a third of a start)

    return await serve_metrics(role.settings, role.name, lambda: role.state)


async def _run(name: str, settings: VigieSettings, work: ProcessWork) -> None:
    role = ProcessContext(
        name, settings, Database(settings.database, application=f"vigie-{name}", role=f"vigie_{name}")
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, role.stop.set)
    pulse = asyncio.create_task(run_heartbeat(role.database, name, lambda: role.state, role.stop))
    end_metrics = await _serve_metrics(role)
    _log.info("role_started")
    try:
        await _work_until_told(role, work)
    finally:
        role.stop.set()
        # A database that hangs must not keep us: whatever was not committed was not acknowledged either.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await pulse
                await end_metrics()
                await role.database.close()
        _log.info("role_stopped")


async def _work_until_told(role: ProcessContext, work: ProcessWork) -> None:
    """Do the work; once told to stop it may drain for a while, and is cancelled then."""
    working = asyncio.ensure_future(work(role))
    told = asyncio.create_task(role.stop.wait())
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=_DRAIN_S)
        if not working.done():
            _log.warning("drain_given_up", after_s=_DRAIN_S)
            working.cancel()
            await asyncio.wait({working}, timeout=_CANCEL_S)
        if working.done() and not working.cancelled():
            working.result()
    finally:
        told.cancel()
        working.cancel()


def run_role(name: str, settings: VigieSettings, work: ProcessWork) -> None:
    """Run a role until SIGTERM or SIGINT; returns when it has drained."""
    configure_logging(settings.log, role=name)
    uvloop.run(_run(name, settings, work))
