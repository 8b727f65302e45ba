"""Runs Prometheus, Alertmanager, VictoriaMetrics and a trace collector for the monitoring rehearsal.

All listen on 127.0.0.1 only, write to a temporary folder, and end with their block.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from tools.rehearsals.report import RehearsalError

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
ALERTMANAGER: Final = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
SLOW_S: Final = 3.0
"""The delay of the slow receiver (seconds)."""

_NS_PER_MS: Final = 1_000_000


@dataclass
class SignalReceiver:
    """Receives webhooks of Vigie, notifications of Alertmanager, and spans by OTLP.

    Attributes:
        url: its address.
        webhooks: headers of received webhooks.
        pages, tickets: alerts that Alertmanager routed to each receiver.
        spans: received spans, as JSON.
    """

    url: str = ""
    webhooks: list[Mapping[str, str]] = field(default_factory=list)
    pages: list[dict[str, Any]] = field(default_factory=list)
    tickets: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    async def take_webhook(self, request: web.Request) -> web.Response:
        """Accept a delivery."""
        self.webhooks.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=204)

    async def take_slowly(self, _: web.Request) -> web.Response:
        """Accept a delivery after three seconds, as a receiver with a slow database does."""
        await asyncio.sleep(SLOW_S)
        return web.Response(status=204)

    async def refuse_webhook(self, _: web.Request) -> web.Response:
        """Answer 410: Vigie disables the endpoint."""
        return web.Response(status=410)

    async def take_page(self, request: web.Request) -> web.Response:
        """Accept a notification to the person on call."""
        self.pages += (await request.json())["alerts"]
        return web.Response()

    async def take_ticket(self, request: web.Request) -> web.Response:
        """Accept a notification that opens a ticket."""
        self.tickets += (await request.json())["alerts"]
        return web.Response()

    async def take_traces(self, request: web.Request) -> web.Response:
        """Accept spans, as an OpenTelemetry collector does."""
        message = ExportTraceServiceRequest()
        message.ParseFromString(await request.read())
        for resource in message.resource_spans:
            process = _read_attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_describe_span(span, process) for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


def _read_attributes(attributes: Any) -> dict[str, Any]:  # noqa: ANN401 (a repeated field of protobuf)
    found: list[KeyValue] = list(attributes)
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in found}


def _describe_span(span: WireSpan, process: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": span.name,
        "process": process.get("service.name"),
        "kind": WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "start_ns": span.start_time_unix_nano,
        "duration_ms": round((span.end_time_unix_nano - span.start_time_unix_nano) / _NS_PER_MS, 3),
        "links": [link.trace_id.hex() for link in span.links],
        "attributes": _read_attributes(span.attributes),
    }


@asynccontextmanager
async def run_signal_receiver() -> AsyncIterator[SignalReceiver]:
    """Serve a receiver of signals on a free port."""
    signals = SignalReceiver()
    application = web.Application(client_max_size=2**26)
    application.add_routes(
        [
            web.post("/hook", signals.take_webhook),
            web.post("/slow", signals.take_slowly),
            web.post("/gone", signals.refuse_webhook),
            web.post("/page", signals.take_page),
            web.post("/ticket", signals.take_ticket),
            web.post("/v1/traces", signals.take_traces),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    signals.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield signals
    finally:
        await runner.cleanup()


@asynccontextmanager
async def run_program(
    log: Path, *words: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program for the length of a block.

    Raises:
        RehearsalError: the program is not installed.
    """
    program = shutil.which(words[0])
    if program is None:
        raise RehearsalError(f"{words[0]} is missing: sh deploy/install.sh --tests")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            program, *words[1:], stdout=output, stderr=output, env=environment
        )
    try:
        yield process
    finally:
        await end_process(process)


async def end_process(process: asyncio.subprocess.Process) -> None:
    """End a program, and wait for it."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(25):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def wait_until(
    what: str, ask: Callable[[], Awaitable[Any]], *, patience_s: float = 60.0, every_s: float = 0.2
) -> Any:  # noqa: ANN401 (what was asked for)
    """Ask until the answer is true.

    Raises:
        RehearsalError: it was not in time.
    """
    try:
        async with asyncio.timeout(patience_s):
            while True:
                with suppress(httpx.TransportError, OSError):
                    if answer := await ask():
                        return answer
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise RehearsalError(f"not within {patience_s:g} s: {what}") from None


def write_alertmanager_config(folder: Path, signals: SignalReceiver) -> Path:
    """Write the configuration of `deploy/`, with the rehearsal's receivers and shorter waits."""
    config = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
    for name, page in (("on-call", "page"), ("tickets", "ticket")):
        (folder / f"{name}-url").write_text(f"{signals.url}/{page}", encoding="utf-8")
    for receiver in config["receivers"]:
        receiver["webhook_configs"][0]["url_file"] = str(folder / f"{receiver['name']}-url")
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "1s"
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def write_prometheus_config(folder: Path, *, targets: list[str], alertmanager: int) -> Path:
    """Write the configuration and the rules of `deploy/`, with the rehearsal's targets and shorter waits."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["vigie"]["static_configs"][0]["targets"] = targets
    # Without a token the API lets this machine read.
    jobs["vigie"].pop("authorization")
    config["scrape_configs"] = [jobs["vigie"]]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    for name in config["rule_files"]:
        rules = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                if rule.get("alert") == "VigieTargetDown":
                    rule["for"] = "5s"
        (folder / name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@asynccontextmanager
async def run_watchers(
    folder: Path, signals: SignalReceiver, ports: Mapping[str, int], *, api: str
) -> AsyncIterator[None]:
    """Run Alertmanager and Prometheus."""
    alertmanager = write_alertmanager_config(folder, signals)
    prometheus = write_prometheus_config(
        folder, targets=[api.removeprefix("http://")], alertmanager=ports["alertmanager"]
    )
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(
            run_program(
                folder / "alertmanager.log",
                "prometheus-alertmanager",
                f"--config.file={alertmanager}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                "--cluster.listen-address=",
            )
        )
        await opened.enter_async_context(
            run_program(
                folder / "prometheus.log",
                "prometheus",
                f"--config.file={prometheus}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            )
        )
        yield


@asynccontextmanager
async def run_victoria_metrics(folder: Path, port: int) -> AsyncIterator[str]:
    """Run VictoriaMetrics; gives its address."""
    async with run_program(
        folder / "victoria-metrics.log",
        "victoria-metrics",
        f"-storageDataPath={folder / 'victoria-metrics'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        # By default queries ignore the last 30 s.
        "-search.latencyOffset=1s",
    ):
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client:
            await wait_until("VictoriaMetrics answers", lambda: client.get(f"{url}/health"))
        yield url


def python_words(*words: str) -> tuple[str, ...]:
    """Return the command that runs a module of this environment."""
    return (sys.executable, "-m", *words)
