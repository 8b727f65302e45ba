"""Runs the whole stack under an ordinary load for an hour, and judges what grows: `make rehearse-soak`.

Everything runs at once at half the rate of `make bench` (docs/performance.md, "From publish to webhook"): 500
samples a second by MQTT and 50 by HTTP, rules of each kind, webhooks of which a tenth fail, reads, exports,
pages of the console. Every five seconds it records what each process uses. It fails if memory, descriptors or
connections grow faster than their bounds, if a call was refused, or if a sample, alert or webhook was lost or
made twice. It writes the records as JSON, and draws them.

All of it runs on 127.0.0.1, in a new folder in /tmp.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import typer

from bench.measure import describe_machine
from simulators.rest_client import ApiClient
from tools.rehearsals.city_load import CityLoad, LoadPlan
from tools.rehearsals.http_load import HttpLoad
from tools.rehearsals.report import RehearsalError, RehearsalReport
from tools.rehearsals.role_processes import ROLES, RehearsedServices, rehearsed_services, this_version
from tools.rehearsals.soak_picture import draw_soak
from tools.rehearsals.soak_recorder import SoakRecorder
from tools.rehearsals.soak_slopes import SHORTEST_JUDGED_S, compute_slopes, find_worst
from tools.rehearsals.webhook_ledger import WebhookLedger

_EVERY_S: Final = 5.0
_JSON: Final = Path(".vigie/soak.json")
_PICTURE: Final = Path("docs/img/soak.svg")
_SAY_EVERY: Final = 12
_FAILING_SHARE: Final = 0.1
_EMAIL: Final = "soak@example.com"
_PASSWORD: Final = "a-rehearsal-of-an-hour-4711"  # noqa: S105 (of a person who exists for an hour)
_UNREACHED: Final = {"metric": "pm2_5", "operator": ">", "threshold": 900}
# The window is full within the warm-up: memory that holds the values of a window grows until then.
_RULES: Final[tuple[dict[str, Any], ...]] = (
    {"no_data": "P1D"},
    {**_UNREACHED, "function": "mean", "window": "PT10M"},
    {"all": [_UNREACHED, {"metric": "temperature", "operator": ">", "threshold": 80}]},
)


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """The plan of a soak.

    Attributes:
        minutes: the duration of the load.
        samples_per_s: by MQTT; a tenth as many come by HTTP besides.
        json_file: where the records go.
        picture: where the picture goes.
    """

    minutes: float
    samples_per_s: float
    json_file: Path
    picture: Path

    def load(self) -> LoadPlan:
        """Return the load by MQTT and HTTP."""
        return LoadPlan(
            samples_per_s=self.samples_per_s,
            calls_per_s=self.samples_per_s / 50,
            reads_per_s=5.0,
            further_rules=_RULES,
        )


async def _sign_in(services: RehearsedServices, load: CityLoad, address: str) -> str:
    """Make an owner of the organisation, and return the token of a session."""
    async with ApiClient(address, services.admin_key) as admin:
        invitation = {"email": _EMAIL, "role": "owner", "organisation_id": load.organisation}
        token = (await admin.post("/v1/invitations", invitation))["token"]
    async with ApiClient(address, "") as anonymous:
        accepted = {"token": token, "name": "Ada", "password": _PASSWORD}
        await anonymous.post("/v1/invitations/accept", accepted)
        signed_in = await anonymous.post("/v1/sessions", {"email": _EMAIL, "password": _PASSWORD})
    return str(signed_in["token"])


def _make_others(load: CityLoad, address: str, token: str) -> dict[str, HttpLoad]:
    """Return a person who looks at the console, and a program that exports files."""
    pages = [
        "/console",
        "/console/boxes.json",
        "/console/fleet",
        "/console/alerts",
        f"/console/sites/{load.site}",
    ]
    boxes = load.mqtt.boxes
    files = [
        f"/v1/readings/export?box={boxes[number]}&format={form}"
        for number, form in enumerate(("csv", "ndjson", "parquet"))
    ]
    return {
        "console": HttpLoad({"Cookie": f"vigie_session={token}"}, [address], [], 0.0, 0.5, pages),
        "exports": HttpLoad({"Authorization": f"Bearer {load.key}"}, [address], [], 0.0, 0.1, files),
    }


async def _soak(
    services: RehearsedServices,
    load: CityLoad,
    others: dict[str, HttpLoad],
    minutes: float,
    say: Callable[[str], None],
) -> SoakRecorder:
    """Put the load on, and record."""
    connection = await asyncpg.connect(services.postgres.superuser_url)
    recorder = SoakRecorder(services, load, others, connection)
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(load.running())
            for other in others.values():
                await stack.enter_async_context(other.running())
            until, turn = time.monotonic() + minutes * 60, 0
            while time.monotonic() < until:
                await recorder.take()
                if turn % _SAY_EVERY == 1:
                    say(_describe(recorder, load))
                turn += 1
                await asyncio.sleep(_EVERY_S)
    finally:
        await connection.close()
    return recorder


def _describe(recorder: SoakRecorder, load: CityLoad) -> str:
    values = recorder.records[-1].values
    memory = ", ".join(f"{role} {values[f'memory {role}']:.0f}" for role in ROLES)
    return (
        f"{load.sent:,} samples; MiB: {memory}; {values['connections']:.0f} connections;"
        f" p95 {values.get('p95 api', 0):.0f} ms; longest `ack` {values['longest ack']:.0f} ms;"
        f" {len(load.webhooks.handled):,} webhooks"
    )


async def rehearse(plan: SoakPlan, report: RehearsalReport) -> None:
    """Run the soak (RehearsalError)."""
    webhooks = WebhookLedger(failing_share=_FAILING_SHARE)
    async with webhooks.listening(), rehearsed_services() as services:
        load = CityLoad(services, webhooks, plan.load())
        with report.step("schema, processes, fleet"):
            await services.migrate(this_version())
            await asyncio.gather(*(services.start(this_version(), role) for role in ROLES))
            address = next(each.address for each in services.running if each.address)
            await load.set_up(address)
            others = _make_others(load, address, await _sign_in(services, load, address))
        with report.step(f"load for {plan.minutes:g} minutes"):
            recorder = await _soak(services, load, others, plan.minutes, report.say)
        with report.step("comparison with the ledger") as note:
            await load.drain()
            outcome = await load.compare()
            refused = [each for other in others.values() for each in other.refused]
            note(str(outcome))
            note(f"{webhooks.failed:,} webhooks failed on purpose")
            note(f"{others['console'].calls['read']} pages, {others['exports'].calls['read']} exports")
            if refused or not outcome.is_good:
                raise RehearsalError("; ".join([str(outcome), *load.http.refused[:3], *refused[:3]]))
    _judge(recorder, plan, report)


def _judge(recorder: SoakRecorder, plan: SoakPlan, report: RehearsalReport) -> None:
    """Write the records, draw them, and compare the slopes with their bounds (RehearsalError)."""
    slopes = compute_slopes(recorder.records)
    for slope in slopes:
        report.say(str(slope))
    worst = find_worst(slopes)
    title = (
        f"{datetime.now(UTC).date()}: {plan.samples_per_s:g} samples/s by MQTT for {plan.minutes:g} minutes"
        f" on {describe_machine()}.\nWorst slope: {worst}"
    )
    content = {
        "title": title,
        "slopes": [asdict(slope) for slope in slopes],
        "records": [asdict(record) for record in recorder.records],
    }
    plan.json_file.parent.mkdir(parents=True, exist_ok=True)
    plan.json_file.write_text(json.dumps(content), encoding="utf-8")
    draw_soak(recorder.records, slopes, title, plan.picture)
    report.say(f"written: {plan.json_file}, {plan.picture}")
    with report.step("slopes after the warm-up") as note:
        note(f"worst: {worst}")
        if plan.minutes * 60 < SHORTEST_JUDGED_S:
            note(f"not judged: a run of less than {SHORTEST_JUDGED_S / 60:.0f} minutes is too short")
        elif steep := [slope for slope in slopes if slope.is_too_steep]:
            raise RehearsalError("; ".join(map(str, steep)))


def main(
    *,
    minutes: Annotated[float, typer.Option(min=0.5, help="Duration of the load")] = 60.0,
    samples_per_s: Annotated[float, typer.Option(min=10.0, help="Samples a second by MQTT")] = 500.0,
    json_file: Annotated[Path, typer.Option("--json", help="Where the records go")] = Path(
        ".vigie/soak.json"
    ),
    picture: Annotated[Path, typer.Option(help="Where the picture goes")] = _PICTURE,
) -> None:
    """Load everything for an hour. Exits with 1 if a slope is too steep, or anything was lost or refused."""
    report = RehearsalReport()
    try:
        asyncio.run(rehearse(SoakPlan(minutes, samples_per_s, json_file, picture), report))
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    sys.exit(report.end())


if __name__ == "__main__":
    typer.run(main)
