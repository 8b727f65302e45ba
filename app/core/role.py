"""How a role runs in the foreground: logging, uvloop, signals, heartbeat, metrics; then its own work."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop
from aiohttp import web

from app.core.database import Database
from app.core.heartbeat import beat
from app.core.observability import configure_logging, exposition, get_logger
from app.core.settings import Settings

_log = get_logger(__name__)


@dataclass(slots=True)
class Role:
    """What a role's work is given.

    Attributes:
        name: api, ingest, deliver or maintain.
        settings: the whole configuration.
        database: open connections.
        stop: set by SIGTERM or SIGINT: drain, then return.
        state: a word for its heartbeat; the work keeps it up to date.
    """

    name: str
    settings: Settings
    database: Database
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    state: str = "starting"


Work = Callable[[Role], Awaitable[None]]


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


async def _serve_metrics(role: Role) -> web.AppRunner | None:
    """Prometheus and health of a role that has no HTTP of its own, where a port is set for it."""
    if not role.settings.metrics_port:
        return None

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "role": role.name, "state": role.state})

    application = web.Application()
    application.add_routes([web.get("/metrics", _metrics), web.get("/healthz", health)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, role.settings.api.host, role.settings.metrics_port).start()
    return runner


async def _run(name: str, settings: Settings, work: Work) -> None:
    role = Role(name, settings, Database(settings.database, application=f"vigie-{name}"))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, role.stop.set)
    pulse = asyncio.create_task(beat(role.database, name, lambda: role.state, role.stop))
    runner = await _serve_metrics(role)
    _log.info("role_started")
    try:
        await work(role)
    finally:
        role.stop.set()
        await pulse
        if runner is not None:
            await runner.cleanup()
        await role.database.close()
        _log.info("role_stopped")


def run_role(name: str, settings: Settings, work: Work) -> None:
    """Run a role until SIGTERM or SIGINT; returns when it has drained."""
    configure_logging(settings.log, role=name)
    uvloop.run(_run(name, settings, work))
