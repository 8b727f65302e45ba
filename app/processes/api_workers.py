"""Runs the API in several worker processes, which share its port and its rate limits.

The parent opens the port, starts the workers and restarts those that end, with a back-off. It serves nothing
itself. Concurrency limits are of each worker, as each has its own database connections.
"""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import uvloop
from prometheus_client.multiprocess import mark_process_dead

from app.platform.http.fairness.shared_buckets import SharedBuckets
from app.platform.observability.metric_file_preallocation import MULTIPROCESS_VARIABLE, trim_metric_files
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.settings import VigieSettings
from app.standalone.child_process import ChildProcess, StopStep
from app.standalone.process_commands import build_command
from app.standalone.process_keeper import ProcessKeeper

# A worker drains for 5 s at most (`app.processes.api_server`).
_STOP: Final = (StopStep(signal.SIGTERM, 6.0),)
_log = get_logger(__name__)


def run_api_workers(settings: VigieSettings) -> None:
    """Run the workers until SIGTERM or SIGINT; returns when they have drained."""
    configure_logging(settings.log, role="api")
    uvloop.run(_run(settings))


async def _run(settings: VigieSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _keep_workers(settings):
        await stop.wait()


@asynccontextmanager
async def _keep_workers(settings: VigieSettings) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="vigie-metrics-") as folder:
        metrics = Path(os.environ.get(MULTIPROCESS_VARIABLE, folder))
        buckets = os.memfd_create("vigie-buckets")
        # Makes the table, before several workers would at the same time.
        SharedBuckets(buckets)
        with _listen(settings.api.host, settings.api.port) as listener:
            keepers = [
                _make_keeper(number, listener.fileno(), buckets, metrics)
                for number in range(settings.api.workers)
            ]
            try:
                for keeper in keepers:
                    await keeper.begin()
                _log.info("workers_started", workers=len(keepers))
                yield
            finally:
                for keeper in keepers:
                    await keeper.release()
                children = [keeper.child for keeper in keepers if keeper.child is not None]
                await asyncio.gather(*(child.stop(_STOP) for child in children))
                os.close(buckets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The queue of connections is as long as uvicorn's.
    return socket.create_server((host, port), family=family, backlog=2048)


def _make_keeper(number: int, listener: int, buckets: int, metrics: Path) -> ProcessKeeper:
    words = ("api-worker", "--listener", str(listener), "--buckets", str(buckets))
    environment = {**os.environ, MULTIPROCESS_VARIABLE: str(metrics)}
    keeper: ProcessKeeper

    async def start() -> ChildProcess:
        return await ChildProcess.start(
            build_command(*words), environment=environment, log=None, pass_fds=(listener, buckets)
        )

    def on_change(pid: int) -> None:
        if keeper.pid != pid:
            # It has ended: its gauges must not be shown any more.
            with suppress(OSError):
                mark_process_dead(pid, str(metrics))  # type: ignore[no-untyped-call]
                trim_metric_files(metrics, pid)

    def notify(message: str) -> None:
        _log.warning("worker", message=message)

    keeper = ProcessKeeper(f"api worker {number}", start, notify, on_change)
    return keeper
