"""Rehearses monitoring on real parts: `make rehearse-monitoring`.

A stack of `vigie up` with the demo city runs with telemetry. Prometheus scrapes it by the rules of `deploy`,
Alertmanager routes what fires, VictoriaMetrics takes its metrics by OTLP, and a small collector its traces.
A box publishes a measurement with a `traceparent` that raises an alert, which goes to a webhook.

It shows that every rule evaluates, and that every query of the dashboards returns data. An alert of each
severity reaches its receiver, and one trace leads from the publish to the attempt. It takes about a minute.
"""

import asyncio
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiomqtt
import httpx
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.standalone.free_ports import find_free_port
from tools.monitoring.dashboards import list_queries
from tools.rehearsals.monitoring_parts import (
    SignalReceiver,
    end_process,
    python_words,
    run_program,
    run_signal_receiver,
    run_victoria_metrics,
    run_watchers,
    wait_until,
)
from tools.rehearsals.report import RehearsalError, RehearsalReport

TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
"""The trace that the box begins; the example of W3C Trace Context."""

_SPAN_ID: Final = "00f067aa0ba902b7"
_PARENT: Final = f"00-{TRACE_ID}-{_SPAN_ID}-01"
_BOX: Final = "rehearsal-1"
_WEBHOOKS: Final = 3
_SHOWN: Final = ("vigie.delivery.outcome", "http.response.status_code", "messaging.batch.message_count")
_RANGE: Final = "30s"
_NAMES: Final = re.compile(r"\bvigie_\w+")
# Series that begin only with a fault which the rehearsal does not cause.
_ONLY_AFTER_FAULTS: Final = frozenset({"vigie_ingest_retries_total", "vigie_http_refused_total"})


class MonitoredStack:
    """The running stack, with the rehearsal's site, box, rule and webhooks.

    Args:
        run: the content of `run.json`.
        signals: receives its webhooks.
    """

    def __init__(self, run: dict[str, Any], signals: SignalReceiver) -> None:
        self.api: str = run["api"]
        self._mqtt = run["mqtt"]
        self._signals = signals
        self._client = httpx.AsyncClient(
            base_url=self.api, headers={"authorization": f"Bearer {run['admin_key']}"}, timeout=30
        )
        self._site: str = ""
        self._password: str = ""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, path: str, body: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        """Create something."""
        answer = await self._client.post(path, json=body)
        if answer.is_error:
            raise RehearsalError(f"POST {path}: {answer.status_code} {answer.text}")
        made: dict[str, Any] = answer.json()
        return made

    async def set_up(self) -> None:
        """Create a site, a box, a rule, and three webhooks: good, slow, and one that answers 410."""
        place = {"type": "Point", "coordinates": [1.4453, 43.6045]}
        site = {"name": "Rehearsal", "kind": "street", "timezone": "Europe/Paris", "location": place}
        self._site = (await self.post("/v1/sites", site))["id"]
        box = await self.post("/v1/boxes", {"id": _BOX, "site_id": self._site, "ack": True})
        self._password = box["credentials"]["password"]
        condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
        rule = {"site_id": self._site, "name": "Fine dust", "severity": "warning", "condition": condition}
        await self.post("/v1/rules", rule)
        for path in ("hook", "slow", "gone"):
            url = f"{self._signals.url}/{path}"
            await self.post(
                "/v1/webhooks", {"url": url, "events": ["alert.firing"], "site_ids": [self._site]}
            )

    async def publish(self) -> None:
        """Publish a measurement that raises the alert, within the trace; a repeat; a refused message."""
        client = aiomqtt.Client(
            self._mqtt["host"],
            self._mqtt["port"],
            username=_BOX,
            password=self._password,
            identifier=_BOX,
            protocol=aiomqtt.ProtocolVersion.V5,
        )
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's is untyped
        properties.UserProperty = [("traceparent", _PARENT)]
        sample = {"seq": 1, "time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 61.0}}
        topic = f"vigie/v1/{_BOX}/telemetry"
        async with client:
            began_ns = time.time_ns()
            await client.publish(topic, json.dumps(sample), qos=1, properties=properties)
            self._signals.spans.append(_describe_publish(began_ns))
            await client.publish(topic, json.dumps(sample), qos=1)
            await client.publish(topic, json.dumps({**sample, "values": {"pm2_5": 1e9}}), qos=1)

    async def call(self) -> None:
        """Send measurements by HTTP, and read some lists."""
        now = datetime.now(UTC).isoformat()
        samples = [{"time": now, "values": {"pm2_5": 12.0}}]
        await self.post("/v1/telemetry", {"box": _BOX, "samples": samples})
        for path in ("/v1/boxes", "/v1/alerts", "/v1/sites"):
            await self._client.get(path)


def _describe_publish(began_ns: int) -> dict[str, Any]:
    """Return the box's own span, which its firmware would export: from the publish to the broker's PUBACK."""
    return {
        "name": "publish",
        "process": _BOX,
        "kind": "producer",
        "trace_id": TRACE_ID,
        "span_id": _SPAN_ID,
        "parent_id": None,
        "start_ns": began_ns,
        "duration_ms": round((time.time_ns() - began_ns) / 1e6, 3),
        "links": [],
        "attributes": {"messaging.system": "mqtt"},
    }


@asynccontextmanager
async def run_stack(
    folder: Path, signals: SignalReceiver, metrics_url: str
) -> AsyncIterator[tuple[MonitoredStack, asyncio.subprocess.Process]]:
    """Run `vigie up` with telemetry until it is ready."""
    environment = {
        **os.environ,
        "VIGIE_TELEMETRY__TRACES_ENDPOINT": f"{signals.url}/v1/traces",
        "VIGIE_TELEMETRY__METRICS_ENDPOINT": metrics_url,
        "VIGIE_TELEMETRY__METRICS_INTERVAL_S": "2",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }
    data = folder / "data"
    words = python_words("app", "up", "--port", "0", "--data-dir", str(data))
    async with run_program(folder / "vigie.log", *words, environment=environment) as process:

        async def read_run() -> dict[str, Any] | None:
            if process.returncode is not None:
                raise RehearsalError(f"vigie up ended:\n{(folder / 'vigie.log').read_text()[-2000:]}")
            path = data / "run.json"
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

        stack = MonitoredStack(await wait_until("vigie up is ready", read_run, patience_s=120), signals)
        try:
            yield stack, process
        finally:
            await stack.close()


class PromqlClient:
    """Queries Prometheus or VictoriaMetrics.

    Args:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(base_url=url, timeout=30)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 (JSON)
        """Read an endpoint of the API."""
        answer = await self._client.get(path, params=parameters)
        return answer.raise_for_status().json()["data"]

    async def has_data(self, query: str) -> bool:
        """Return whether a query returns a number."""
        found = await self.get("/api/v1/query", query=query.replace("$__rate_interval", _RANGE))
        return any(not math.isnan(float(each["value"][1])) for each in found["result"])

    async def list_empty(self, queries: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """Return the queries of dashboards that return nothing."""
        return [each for each in queries if not await self.has_data(each[2])]


async def check_rules(prometheus: PromqlClient) -> tuple[int, set[str]]:
    """Check that all rules evaluate; return their number, and the metrics of which no series exists.

    Raises:
        RehearsalError: a rule does not evaluate.
    """

    async def evaluated() -> list[dict[str, Any]]:
        groups = (await prometheus.get("/api/v1/rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = await wait_until("all rules are evaluated", evaluated)
    broken = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
    if broken:
        raise RehearsalError("; ".join(broken))
    names = {name for rule in rules for name in _NAMES.findall(rule["query"])}
    missing = {name for name in names if not await prometheus.has_data(f"count({name})")}
    return len(rules), missing


def find_trace(signals: SignalReceiver) -> list[dict[str, Any]]:
    """Return the spans of the box's trace and of its batch, in order; empty while one is missing."""
    spans = [span for span in signals.spans if span["trace_id"] == TRACE_ID]
    if [span["name"] for span in spans].count("deliver webhook") < _WEBHOOKS:
        return []
    batches = {link for span in spans for link in span["links"]}
    spans += [span for span in signals.spans if span["trace_id"] in batches]
    return sorted(spans, key=lambda span: (span["start_ns"], -span["duration_ms"]))


def format_trace(spans: list[dict[str, Any]]) -> str:
    """Format a trace as lines: begin, name, duration, process, and selected attributes."""
    first = spans[0]["start_ns"]
    lines = []
    for span in spans:
        attributes = span["attributes"]
        found = [str(attributes[name]) for name in _SHOWN if name in attributes]
        known = "  ".join([*found, *(["(linked)"] if span["trace_id"] != TRACE_ID else [])])
        begin = (span["start_ns"] - first) / 1e6
        lines.append(
            f"{begin:9,.1f}  {span['name']:16} {span['duration_ms']:9,.1f}  {span['process']:14} {known}"
        )
    return "\n".join([f"{'begin ms':>9}  {'span':16} {'ms':>9}  {'process':14}", *lines])


async def rehearse(report: RehearsalReport, folder: Path) -> None:
    """Run all steps (RehearsalError)."""
    ports = {name: find_free_port() for name in ("prometheus", "alertmanager", "victoria")}
    async with (
        run_signal_receiver() as signals,
        run_victoria_metrics(folder, ports["victoria"]) as victoria_url,
    ):
        otlp = f"{victoria_url}/opentelemetry/v1/metrics"
        with report.step("vigie up with the demo city and telemetry"):
            running = run_stack(folder, signals, otlp)
            stack, process = await running.__aenter__()
        try:
            async with run_watchers(folder, signals, ports, api=stack.api):
                prometheus = PromqlClient(f"http://127.0.0.1:{ports['prometheus']}")
                victoria = PromqlClient(victoria_url)
                await _watch(report, stack, signals, prometheus, victoria)
                with report.step("critical alert VigieTargetDown: page received (the stack was stopped)"):
                    await end_process(process)
                    await wait_until("a page", _find_alert(signals.pages, "VigieTargetDown"))
                await prometheus.close()
                await victoria.close()
        finally:
            await running.__aexit__(None, None, None)


async def _watch(
    report: RehearsalReport,
    stack: MonitoredStack,
    signals: SignalReceiver,
    prometheus: PromqlClient,
    victoria: PromqlClient,
) -> None:
    with report.step("Prometheus scrapes the stack"):
        await wait_until("a first scrape", lambda: prometheus.has_data('up{job="vigie"} == 1'))
    with report.step("a site, a box, a rule and three webhooks"):
        await stack.set_up()
    with report.step("publish with traceparent, alert, webhook received"):
        await stack.publish()
        await wait_until("the webhook", _has(signals.webhooks))
        if TRACE_ID not in signals.webhooks[0].get("traceparent", ""):
            raise RehearsalError(f"the webhook has another traceparent: {signals.webhooks[0]}")
    with report.step("one trace from the publish to the attempts"):

        async def ask() -> list[dict[str, Any]]:
            return find_trace(signals)

        spans = await wait_until("the trace", ask)
    report.say(f"the spans:\n{json.dumps(spans, indent=1)}\n{format_trace(spans)}")
    await stack.call()
    queries = list(list_queries())
    with report.step(f"{len(queries)} queries of dashboards return data from Prometheus"):
        await _wait_for_queries(stack, prometheus, queries)
    with report.step("all rules evaluate") as note:
        count, missing = await check_rules(prometheus)
        note(f"{count} rules; no series yet of {', '.join(sorted(missing)) or 'none'}")
        if unknown := missing - _ONLY_AFTER_FAULTS:
            raise RehearsalError(f"rules read metrics that do not exist: {sorted(unknown)}")
    plain = [each for each in queries if "vigie:" not in each[2]]
    with report.step(f"{len(plain)} queries return data from VictoriaMetrics (by OTLP)"):
        await _wait_for_queries(stack, victoria, plain)
    with report.step("warning VigieEndpointsDisabled: ticket received") as note:
        await wait_until("a ticket", _find_alert(signals.tickets, "VigieEndpointsDisabled"))
        links = {alert["annotations"].get("runbook_url") for alert in signals.tickets}
        note(f"with {', '.join(sorted(map(str, links)))}")


async def _wait_for_queries(
    stack: MonitoredStack, source: PromqlClient, queries: list[tuple[str, str, str]]
) -> None:
    empty = queries
    for _ in range(45):
        await stack.call()
        empty = await source.list_empty(empty)
        if not empty:
            return
        await asyncio.sleep(1)
    raise RehearsalError("\n".join(f"no data: {board} / {panel}: {query}" for board, panel, query in empty))


def _has(found: list[Any]) -> Any:  # noqa: ANN401 (a coroutine function)
    async def ask() -> bool:
        return bool(found)

    return ask


def _find_alert(alerts: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401 (a coroutine function)
    async def ask() -> bool:
        return any(alert["labels"]["alertname"] == name for alert in alerts)

    return ask


def main() -> int:
    """Run the rehearsal, and return its exit status."""
    report = RehearsalReport()
    with tempfile.TemporaryDirectory(prefix="vigie-rehearsal-") as folder:
        try:
            asyncio.run(rehearse(report, Path(folder)))
        except RehearsalError as error:
            if not report.failures:
                report.failures.append(str(error))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
