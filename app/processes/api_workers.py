"""Runs the API in several worker processes, which share its port and its rate limits.

The parent opens the port, starts the workers and restarts those that end or hang, with a back-off. It serves
nothing itself. Concurrency limits are of each worker, as each has its own database connections.
"""

import asyncio
import faulthandler
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from prometheus_client.multiprocess import mark_process_dead

from app.platform.http.fairness.shared_buckets import SharedBuckets
from app.platform.observability.metric_file_preallocation import MULTIPROCESS_VARIABLE, trim_metric_files
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.platform.runtime.service_manager import STARTING, ServiceManager
from app.processes.worker_watchdog import CHECK_EVERY_S, WorkerWatchdog
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
    faulthandler.enable()
    uvloop.run(_run(settings))


@dataclass(slots=True)
class _ParentProcess:
    """The parent, as it reports itself to the service manager."""

    stop: asyncio.Event
    state: str = STARTING
    progressed_at: float | None = None


async def _run(settings: VigieSettings) -> None:
    loop = asyncio.get_running_loop()
    parent = _ParentProcess(asyncio.Event())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parent.stop.set)
    manager = ServiceManager.of(os.environ)
    reports = asyncio.create_task(manager.report(parent))
    async with _keep_workers(settings) as watchdog:
        while not parent.stop.is_set():
            parent.progressed_at = loop.time()
            if watchdog.are_ready:
                parent.state = f"serving with {settings.api.workers} workers"
            for pid in await watchdog.check():
                _log.error("worker_hung", worker_pid=pid, killed=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(parent.stop.wait(), CHECK_EVERY_S)
        await reports
    manager.close()


@asynccontextmanager
async def _keep_workers(settings: VigieSettings) -> AsyncIterator[WorkerWatchdog]:
    with tempfile.TemporaryDirectory(prefix="vigie-metrics-") as folder:
        metrics = Path(os.environ.get(MULTIPROCESS_VARIABLE, folder))
        watchdog = WorkerWatchdog(Path(folder))
        buckets = os.memfd_create("vigie-buckets")
        # Makes the table, before several workers would at the same time.
        SharedBuckets(buckets)
        with _listen(settings.api.host, settings.api.port) as listener:
            keepers = [
                _make_keeper(number, listener.fileno(), buckets, metrics, watchdog)
                for number in range(settings.api.workers)
            ]
            watchdog.watch(keepers)
            try:
                for keeper in keepers:
                    await keeper.begin()
                _log.info("workers_started", workers=len(keepers))
                yield watchdog
            finally:
                for keeper in keepers:
                    await keeper.release()
                children = [keeper.child for keeper in keepers if keeper.child is not None]
                await asyncio.gather(*(child.stop(_STOP) for child in children))
                watchdog.close()
                os.close(buckets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The queue of connections is as long as uvicorn's.
    return socket.create_server((host, port), family=family, backlog=2048)


def _make_keeper(
    number: int, listener: int, buckets: int, metrics: Path, watchdog: WorkerWatchdog
) -> ProcessKeeper:
    words = ("api-worker", "--listener", str(listener), "--buckets", str(buckets))
    environment = {**os.environ, **watchdog.add(), MULTIPROCESS_VARIABLE: str(metrics)}
    keeper: ProcessKeeper

    async def start() -> ChildProcess:
        watchdog.forget_silence(number)
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
