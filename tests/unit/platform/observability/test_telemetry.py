import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError

from app.platform.config.telemetry_settings import TelemetrySettings
from app.platform.observability import telemetry as telemetry_module
from app.platform.observability.telemetry import start_telemetry
from app.platform.observability.tracing import is_tracing, start_span


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last export may take as long as it does."""
    monkeypatch.setattr(telemetry_module, "_FLUSH_S", 60.0)


@asynccontextmanager
async def collecting(delay_s: float = 0.0) -> AsyncIterator[tuple[str, dict[str, list[web.Request]]]]:
    """A collector, and the requests that it got, with their bodies read."""
    got: dict[str, list[web.Request]] = {"/v1/traces": [], "/v1/metrics": []}

    async def take(request: web.Request) -> web.Response:
        await request.read()
        got[request.path].append(request)
        await asyncio.sleep(delay_s)
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.add_routes([web.post(path, take) for path in got])
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", got
    await runner.cleanup()


@pytest.mark.usefixtures("_patient")
async def test_traces_and_metrics_reach_a_collector_with_headers() -> None:
    async with collecting() as (url, got):
        settings = TelemetrySettings.model_validate(
            {"endpoint": url, "headers": {"authorization": "Bearer x"}}
        )
        telemetry = start_telemetry(settings, role="ingest")
        assert is_tracing()
        start_span("ingest batch").end()
        await telemetry.stop()
        assert not is_tracing()
        (traces,) = got["/v1/traces"]
        (metrics,) = got["/v1/metrics"]
        assert traces.headers["authorization"] == metrics.headers["authorization"] == "Bearer x"
        spans = ExportTraceServiceRequest.FromString(await traces.read()).resource_spans[0]
        assert spans.scope_spans[0].spans[0].name == "ingest batch"
        exported = ExportMetricsServiceRequest.FromString(await metrics.read()).resource_metrics[0]
        names = {metric.name for metric in exported.scope_metrics[0].metrics}
        assert "vigie_log_lines_lost_total" in names


_EXIT = """
import asyncio, sys
from app.platform.config.telemetry_settings import TelemetrySettings
from app.platform.observability.telemetry import start_telemetry
from app.platform.observability.tracing import start_span

async def main():
    telemetry = start_telemetry(TelemetrySettings(traces_endpoint=sys.argv[1]), role="ingest")
    start_span("ingest batch").end()
    await telemetry.stop()

asyncio.run(main())
"""


async def test_a_collector_that_hangs_delays_no_exit() -> None:
    async with collecting(delay_s=60) as (url, _):
        # A process of its own: the thread that still waits would disturb other tests in this one.
        child = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", _EXIT, f"{url}/v1/traces")
        assert await asyncio.wait_for(child.wait(), 60) == 0


@pytest.mark.usefixtures("_patient")
async def test_an_answer_without_an_end_is_not_read() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while sent < 64 * 2**20:
                await response.write(bytes(2**20))
                sent += 2**20
        return response

    application = web.Application()
    application.add_routes([web.post("/v1/traces", answer)])
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    telemetry = start_telemetry(TelemetrySettings(traces_endpoint=url), role="ingest")
    start_span("ingest batch").end()
    await telemetry.stop()
    await runner.cleanup()
    # What the sockets hold.
    assert 0 < sent < 32 * 2**20


@pytest.mark.parametrize(
    ("given", "traces", "metrics"),
    [
        ({}, None, None),
        ({"endpoint": "http://a:4318/"}, "http://a:4318/v1/traces", "http://a:4318/v1/metrics"),
        ({"traces_endpoint": "https://a/t"}, "https://a/t", None),
        (
            {"endpoint": "http://a:4318", "metrics_endpoint": "http://b:8428/opentelemetry/v1/metrics"},
            "http://a:4318/v1/traces",
            "http://b:8428/opentelemetry/v1/metrics",
        ),
    ],
)
def test_where_signals_go(given: dict[str, str], traces: str | None, metrics: str | None) -> None:
    settings = TelemetrySettings.model_validate(given)
    assert (settings.traces_url, settings.metrics_url) == (traces, metrics)


async def test_the_standard_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry = start_telemetry(TelemetrySettings(endpoint="http://127.0.0.1:9"), role="ingest")
    assert not is_tracing()
    await telemetry.stop()


def test_an_endpoint_is_an_url() -> None:
    with pytest.raises(ValidationError, match="must begin with http"):
        TelemetrySettings(endpoint="127.0.0.1:4318")
