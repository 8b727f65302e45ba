"""How the REST role listens: uvicorn, its graceful stop, and the role's heartbeat."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.platform.config.settings import VigieSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext, run_role
from app.platform.runtime.server_timeouts import TimeoutHttpProtocol
from app.processes.api import create_app

_log = get_logger(__name__)
_DRAIN_S = 5
# An answer of a thousand boxes makes ten thousand objects, none of them in circles.
_GARBAGE_AFTER = 50_000
# Before the graceful stop is over: what it cancels then is no fault, but is logged as one.
_UNREAD_S = 3


class _Server(uvicorn.Server):
    """A server that leaves the signals to the role, which has them already."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def _tidy() -> None:
    """Have the garbage collector leave alone what lives as long as the process: routes, models, modules.

    It would look through all of that in the middle of a large answer, which is a hundred milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER, 20, 20)


async def _api(role: ProcessContext) -> None:
    application = create_app(role.settings)
    _tidy()
    config = uvicorn.Config(
        application,
        http=TimeoutHttpProtocol.of(role.settings.api.patience_s),
        host=role.settings.api.host,
        port=role.settings.api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # A forwarded address is anybody's to write: believed of named proxies alone.
        proxy_headers=bool(role.settings.api.trusted_proxies),
        forwarded_allow_ips=role.settings.api.trusted_proxies,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    told = asyncio.create_task(role.stop.wait())
    role.state = "serving"
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    if server.started:
        # Streams have no end of their own: the graceful stop would wait for them in vain.
        application.state.stream_hub.stop()
    server.should_exit = True
    told.cancel()
    cut = asyncio.get_running_loop().call_later(_UNREAD_S, _close_unread, server)
    await serving
    cut.cancel()
    if not server.started:
        raise SystemExit(1)


def _close_unread(server: uvicorn.Server) -> None:
    for connection in tuple(server.server_state.connections):
        if isinstance(connection, TimeoutHttpProtocol):
            connection.close_unread()


def serve_api(settings: VigieSettings) -> None:
    """Run the REST role until SIGTERM or SIGINT."""
    run_role("api", settings, _api)
