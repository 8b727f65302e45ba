"""Runs a process in the foreground, with logging, uvloop, signal handling, heartbeat and metrics.

Under systemd it also reports readiness, state and liveness (`app.platform.runtime.service_manager`).
"""

import asyncio
import faulthandler
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

from app.platform.config.platform_settings import PlatformSettings
from app.platform.db.database import Database
from app.platform.observability.gauge_sampling import run_gauge_sampler
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.platform.observability.telemetry import start_telemetry
from app.platform.runtime.heartbeat import run_heartbeat
from app.platform.runtime.release import publish_build_info
from app.platform.runtime.service_manager import STARTING, ServiceManager

_log = get_logger(__name__)
# In total less than the 15 seconds in which a whole stack has to stop.
_DRAIN_S = 11.0
_CANCEL_S = 1.0
_CLOSE_S = 2.0


@dataclass(slots=True)
class ProcessContext:
    """The context of a process's work.

    Attributes:
        name: api, edge, ingest, deliver or maintain.
        database: open connections.
        stop: set by SIGTERM or SIGINT: drain, then return.
        state: the state in its heartbeat, which the work updates.
        progressed_at: when the work loop turned last, by the event loop's clock; None if the work has none.
    """

    name: str
    database: Database
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    state: str = STARTING
    progressed_at: float | None = None

    def mark_progress(self) -> None:
        """Note that the work loop turns: without it, the watchdog restarts the process."""
        self.progressed_at = asyncio.get_running_loop().time()

    async def pause(self, seconds: float) -> None:
        """Sleep, but return early when the process has to stop."""
        self.mark_progress()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


type ProcessWork[S: PlatformSettings] = Callable[[S, ProcessContext], Awaitable[None]]
"""The work of a process, with its settings. It opens what it needs, and closes it before it returns."""


async def _nothing() -> None:
    """Stop a metrics server that was not started."""


async def _serve_metrics(
    settings: PlatformSettings, context: ProcessContext
) -> Callable[[], Awaitable[None]]:
    if not settings.metrics_port:
        return _nothing
    from app.platform.runtime.metrics_server import serve_metrics  # noqa: PLC0415 (loading it costs a third of a start)

    return await serve_metrics(settings, context.name, lambda: context.state)


async def _run[S: PlatformSettings](name: str, settings: S, work: ProcessWork[S], database_role: str) -> None:
    database = Database(settings.database, application=f"vigie-{name}", role=database_role)
    context = ProcessContext(name, database)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stop.set)
    pulse = asyncio.create_task(run_heartbeat(context.database, name, lambda: context.state, context.stop))
    sampling = asyncio.create_task(run_gauge_sampler(name, context.stop))
    publishing = asyncio.create_task(publish_build_info(name))
    telemetry = start_telemetry(settings.telemetry, role=name)
    manager = ServiceManager.of(os.environ)
    reports = asyncio.create_task(manager.report(context))
    end_metrics = await _serve_metrics(settings, context)
    _log.info("role_started")
    try:
        await _work_until_stopped(context, work(settings, context))
    finally:
        context.stop.set()
        # A hanging database must not block the exit: uncommitted work was not acknowledged either.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await reports
                await pulse
                await end_metrics()
                await context.database.close()
        await asyncio.gather(sampling, publishing, return_exceptions=True)
        await telemetry.stop()
        manager.close()
        _log.info("role_stopped")


async def _work_until_stopped(context: ProcessContext, work: Awaitable[None]) -> None:
    """Run the work. After a stop signal it may drain for a while, then it is cancelled."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.create_task(context.stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=_DRAIN_S)
        if not working.done():
            _log.warning("drain_given_up", after_s=_DRAIN_S)
            working.cancel()
            await asyncio.wait({working}, timeout=_CANCEL_S)
        if working.done() and not working.cancelled():
            working.result()
    finally:
        stopping.cancel()
        working.cancel()


def run_process[S: PlatformSettings](
    name: str, settings: S, work: ProcessWork[S], *, database_role: str | None = None
) -> None:
    """Run a process until SIGTERM or SIGINT; returns when it has drained.

    Args:
        name: the process role.
        settings: the settings of the process.
        work: the process's own work.
        database_role: its role in the database; None: the one that is named after the process.
    """
    configure_logging(settings.log, role=name)
    # The watchdog ends a process that hangs by SIGABRT: the log then has the place where it hung.
    faulthandler.enable()
    uvloop.run(_run(name, settings, work, database_role or f"vigie_{name}"))
