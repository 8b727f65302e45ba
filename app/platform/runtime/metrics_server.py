"""Serves Prometheus metrics and health of processes without an HTTP server of their own.

A separate module, as aiohttp takes longer to load than a process's own code.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from app.platform.config.platform_settings import PlatformSettings
from app.platform.http.contract.operator_auth import is_operator
from app.platform.observability.metrics_and_logs import render_metrics


async def serve_metrics(
    settings: PlatformSettings, name: str, state: Callable[[], str]
) -> Callable[[], Awaitable[None]]:
    """Serve `/metrics`, for operators only, and `/healthz`, and return a function that ends it.

    Args:
        settings: the port, and the operator's token.
        name: the process role.
        state: returns the current state.
    """

    async def metrics(request: web.Request) -> web.Response:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not is_operator(bearer, request.remote, settings.api):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return web.Response(
            body=render_metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "role": name, "state": state()})

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", health)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.api.host, settings.metrics_port).start()
    return runner.cleanup
