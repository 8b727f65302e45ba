"""Exports traces and metrics by OTLP over HTTP, where telemetry is configured.

`start_telemetry` imports OpenTelemetry only if an endpoint is set: a process without telemetry does not load
it. Exports run in threads of their own, drop data beyond their queue, and never delay the process's work.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

from app.platform.config.telemetry_settings import TelemetrySettings
from app.platform.observability.metrics_and_logs import get_logger

_FLUSH_S: Final = 1.5
_log = get_logger(__name__)


class TelemetryExports:
    """Stops the running exports of a process.

    Args:
        stops: flush and end the exports, in threads.
    """

    def __init__(self, *stops: Callable[[], None]) -> None:
        self._stops = stops

    async def stop(self) -> None:
        """Flush what is queued, for at most 1.5 s: a collector that is away must not delay the exit."""
        if not self._stops:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            for stop in self._stops:
                stop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # A daemon thread: the exit of the process would wait for a thread of an executor.
        threading.Thread(target=flush, name="telemetry-stop", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_S):
                await done.wait()
        except TimeoutError:
            _log.warning("telemetry_not_flushed", after_s=_FLUSH_S)


def start_telemetry(settings: TelemetrySettings, *, role: str) -> TelemetryExports:
    """Start the exports that the settings name.

    Args:
        settings: endpoints, headers and sampling.
        role: the process role.
    """
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or not (settings.traces_url or settings.metrics_url):
        return TelemetryExports()
    from app.platform.observability.otlp_metrics import export_metrics  # noqa: PLC0415 (only where it is on)
    from app.platform.observability.otlp_traces import build_resource, export_traces  # noqa: PLC0415 (the same)

    resource = build_resource(role)
    stops = []
    if settings.traces_url is not None:
        stops.append(export_traces(settings, settings.traces_url, resource))
    if settings.metrics_url is not None:
        stops.append(export_metrics(settings, settings.metrics_url, resource))
    _log.info(
        "telemetry_started",
        traces=settings.traces_url is not None,
        metrics=settings.metrics_url is not None,
        sample_ratio=settings.sample_ratio,
    )
    return TelemetryExports(*stops)
