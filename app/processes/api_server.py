"""Serves the REST application with uvicorn, with a graceful stop and the heartbeat of the process."""

import asyncio
import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.http.fairness.shared_buckets import SharedBuckets
from app.platform.kernel.application_resources import get_resource
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.server_timeouts import TimeoutHttpProtocol
from app.processes.api_application import create_app
from app.settings import VigieSettings

_log = get_logger(__name__)
_DRAIN_S = 5
# A response with 1,000 boxes creates 10,000 objects without cycles.
_GC_THRESHOLD = 50_000
# Before the end of the graceful stop, which would log its cancellations as errors.
_CLOSE_UNREAD_AFTER_S = 3


class _Server(uvicorn.Server):
    """A server that leaves signals to the process runner, which handles them already.

    Args:
        config: The configuration.
        on_started: Called once it accepts connections.
    """

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def _tune_garbage_collector() -> None:
    """Exclude objects that live as long as the process (routes, models, modules) from garbage collection.

    A full collection during a large response would take a hundred milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


@dataclass(frozen=True, slots=True)
class SharedDescriptors:
    """What a worker inherits from its parent, by file descriptor.

    Attributes:
        listener: the socket that all workers accept connections from.
        buckets: the buckets of the rate limits.
    """

    listener: int
    buckets: int


async def run_api(
    settings: VigieSettings, process: ProcessContext, *, shared: SharedDescriptors | None = None
) -> None:
    """Serve the API until a stop request. The application opens its resources in its lifespan.

    Args:
        settings: The settings.
        process: The process.
        shared: What it shares with other workers; None: it is the only process.
    """
    application = create_app(settings, buckets=None if shared is None else SharedBuckets(shared.buckets))
    _tune_garbage_collector()
    config = uvicorn.Config(
        application,
        http=TimeoutHttpProtocol.of(settings.api.patience_s),
        host=settings.api.host,
        port=settings.api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Anybody can send a forwarded address, so it is accepted only from trusted proxies.
        proxy_headers=bool(settings.api.trusted_proxies),
        forwarded_allow_ips=settings.api.trusted_proxies,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
    )

    def report_serving() -> None:
        process.state = "serving"

    server = _Server(config, report_serving)
    sockets = None if shared is None else [socket.socket(fileno=shared.listener)]
    serving = asyncio.create_task(server.serve(sockets))
    stopping = asyncio.create_task(process.stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if server.started:
        # Event streams do not end by themselves: the graceful stop would wait for them in vain.
        get_resource(application, StreamHub).stop()
    server.should_exit = True
    stopping.cancel()
    close_unread = asyncio.get_running_loop().call_later(_CLOSE_UNREAD_AFTER_S, _close_unread, server)
    await serving
    close_unread.cancel()
    if not server.started:
        raise SystemExit(1)


def _close_unread(server: uvicorn.Server) -> None:
    for connection in tuple(server.server_state.connections):
        if isinstance(connection, TimeoutHttpProtocol):
            connection.close_unread()
