"""Kills, suspends and cuts off each part of three machines under load: `make rehearse-cluster`, as root.

Boxes with `ack` publish through haproxy; rules fire, and webhooks are delivered. The ledger and the receiver
of the webhooks are outside all machines. After each case every sample must be stored once, every alert that
was due must have fired once and been delivered, and no other alert.

    python -m tools.clusters.kill_drill --only log-leader:kill --only machine:cut
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import typer

from app.platform.db.database import DATABASE_ERRORS
from bench.publisher import BrokerAccount
from bench.stack import LIMITS
from simulators.rest_client import ApiClient
from tools.clusters.box_load import RULE, BoxLoad
from tools.clusters.city_cluster import PACKAGES, CityCluster
from tools.clusters.cluster_command import say
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.drill_cases import CASES, DrillCase, Victim, break_victim, find_victim, mend_victim
from tools.clusters.drill_results import (
    CaseMarks,
    CaseResult,
    count_alerts,
    count_other_alerts,
    count_stored,
    mark,
    write_table,
)
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import install_packages
from tools.rehearsals.webhook_ledger import WebhookLedger

_SITES: Final = 12
_BOXES_PER_SITE: Final = 4
_STEADY_S: Final = 5.0
_DOWN_S: Final = 20.0  # how long a killed part stays away
_HANG_S: Final = 30.0
_GAP_S: Final = 120.0
_DRAIN_S: Final = 90.0
_DUE_RULE: Final = "Dust"
# Rules that are evaluated with each sample and must not fire: none of their conditions is ever true.
_FURTHER_RULES: Final = {
    "A box is silent": {"no_data": "PT1M"},
    "Mean temperature": {
        "metric": "temperature",
        "function": "mean",
        "window": "PT1M",
        "operator": ">",
        "threshold": 60,
    },
    "A quarter of the boxes": {
        "boxes": {"metric": "pm2_5", "operator": ">", "threshold": 500},
        "share": 25,
    },
}
_SITE: Final = {
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6045]},
}
_UNTOLD: Final = "SELECT id FROM outbox WHERE type LIKE 'alert.%'"


class HttpReads:
    """Reads the API through haproxy five times a second, and counts failures.

    Attributes:
        calls: All reads.
        failed: Those without an answer of 200.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self.calls = 0
        self.failed = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read for the length of a block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        timeout = aiohttp.ClientTimeout(total=5)
        # A connection for each read, as many different clients have.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
            while True:
                self.calls += 1
                try:
                    async with session.get(self._url) as answer:
                        self.failed += answer.status != 200  # noqa: PLR2004
                except (aiohttp.ClientError, TimeoutError):
                    self.failed += 1
                await asyncio.sleep(0.2)


class KillDrill:
    """Runs cases on a cluster that works.

    Args:
        cluster: The cluster.
        load: The boxes.
        webhooks: The receiver.
        reads: Reads of the API.
    """

    def __init__(
        self, cluster: CityCluster, load: BoxLoad, webhooks: WebhookLedger, reads: HttpReads
    ) -> None:
        self._cluster = cluster
        self._load = load
        self._webhooks = webhooks
        self._reads = reads

    async def run_case(self, case: DrillCase) -> CaseResult:
        """Run a case under load, wait until everything works and is stored, and compare.

        Raises:
            ClusterError: The cluster does not work again.
        """
        await self._cluster.wait_until_ready()
        others = await count_other_alerts(self._cluster, _DUE_RULE)
        marks = mark(self._load, self._webhooks, others)
        calls, failed = self._reads.calls, self._reads.failed
        self._load.resume()
        await asyncio.sleep(_STEADY_S)
        victim = await find_victim(self._cluster, case)
        say(f"{time.strftime('%H:%M:%S')} {case.name}: {victim}")
        gap_s = await self._break_and_mend(case, victim)
        await self._cluster.wait_until_ready()
        await asyncio.sleep(_STEADY_S)
        self._load.pause()
        http = (self._reads.failed - failed, self._reads.calls - calls)
        await self._drain()
        return await self._compare(case, str(victim), marks, gap_s, http)

    async def _break_and_mend(self, case: DrillCase, victim: Victim) -> float | None:
        began = time.monotonic()
        measuring = asyncio.create_task(self._measure_gap(began))
        await break_victim(self._cluster, case, victim)
        try:
            await asyncio.sleep(_DOWN_S if case.action == "kill" else _HANG_S)
        finally:
            await mend_victim(self._cluster, case, victim)
        return await measuring

    async def _measure_gap(self, began: float) -> float | None:
        while time.monotonic() < began + _GAP_S:
            if self._load.are_all_acked_since(began):
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        return None

    async def _drain(self) -> None:
        """Wait until all samples are stored and all events delivered, or for 90 s."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while True:
                    if not self._load.pending and await self._is_delivered():
                        return
                    await asyncio.sleep(0.5)

    async def _is_delivered(self) -> bool:
        with suppress(OSError, *DATABASE_ERRORS):
            events = {f"msg_{row['id'].hex}" for row in await self._cluster.read_rows(_UNTOLD)}
            return events <= self._webhooks.handled.keys()
        return False

    async def _compare(
        self,
        case: DrillCase,
        victim: str,
        marks: CaseMarks,
        gap_s: float | None,
        http: tuple[int, int],
    ) -> CaseResult:
        stored, twice = await count_stored(self._cluster, marks)
        alerts = await count_alerts(self._cluster, self._load, self._webhooks, marks, _DUE_RULE)
        return CaseResult(
            name=case.name,
            victim=victim,
            published=self._load.sent - sum(marks.sent.values()),
            stored=stored,
            twice=twice,
            gap_s=gap_s,
            due=alerts.due,
            unfired=alerts.unfired,
            spurious=alerts.spurious,
            untold=alerts.untold,
            told_twice=self._webhooks.twice - marks.twice,
            http=http,
        )


async def set_up(cluster: CityCluster, webhooks: WebhookLedger) -> tuple[list[str], str]:
    """Create an organisation with sites, boxes, rules and a webhook; returns the boxes and an API key."""
    async with ApiClient(cluster.api, cluster.secrets.admin_key, timeout_s=60.0) as admin:
        organisation = str((await admin.post("/v1/organisations", {"name": "Drill"}))["id"])
        wanted = {"organisation_id": organisation, "name": "drill", "scopes": ["*"]}
        key = str((await admin.post("/v1/api-keys", wanted))["key"])
    boxes = []
    async with ApiClient(cluster.api, key, timeout_s=60.0) as client:
        for number in range(_SITES):
            site = str((await client.post("/v1/sites", {**_SITE, "name": f"Site {number}"}))["id"])
            own = [f"drill-{number}-{index}" for index in range(_BOXES_PER_SITE)]
            listed = [{"id": box, "site_id": site, "ack": True} for box in own]
            await client.post("/v1/boxes/bulk", {"boxes": listed})
            for name, condition in {_DUE_RULE: RULE, **_FURTHER_RULES}.items():
                rule = {"site_id": site, "name": name, "severity": "warning", "condition": condition}
                await client.post("/v1/rules", rule)
            boxes += own
        webhooks.use_secret(str((await client.post("/v1/webhooks", {"url": webhooks.url}))["secret"]))
    return boxes, key


def _cancel_on_signals() -> None:
    """Let SIGINT and SIGTERM end the drill by way of its clean-up."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def run_drill(cases: Sequence[DrillCase], per_s: float, table: Path, *, keeps: bool) -> int:
    """Run cases one after another on one cluster; returns 0 if nothing was lost or wrong."""
    results: list[CaseResult] = []
    _cancel_on_signals()
    async with open_cluster_folder(keeps=keeps, say=say) as folder:
        cluster = CityCluster(folder, settings=dict.fromkeys(LIMITS, "0"), say=say)
        note_network(folder, cluster.network.name)
        async with cluster, WebhookLedger(host=cluster.network.address).listening() as webhooks:
            boxes, key = await set_up(cluster, webhooks)
            password = cluster.secrets.brokers["gateway"]
            account = BrokerAccount(cluster.mqtt_host, MQTT_PORT, "gateway", password)
            load, reads = BoxLoad(account, boxes, per_s), HttpReads(f"{cluster.api}/v1/boxes?limit=10", key)
            drill = KillDrill(cluster, load, webhooks, reads)
            async with load.running(), reads.running():
                for case in cases:
                    results.append(await drill.run_case(case))
                    say(results[-1].format_row())
                    write_table(table, results)
    return 0 if all(each.is_good for each in results) else 1


def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help="A case, such as log-leader:kill")] = None,
    per_s: Annotated[float, typer.Option(min=10.0, help="Samples a second")] = 1_000.0,
    table: Annotated[Path, typer.Option(help="Where the table is written")] = Path("build/kill-drill.md"),
    keeps: Annotated[bool, typer.Option("--keep", help="Leave the files and logs at the end")] = False,
) -> None:
    """Break each part of a cluster under load. Exits with 1 if anything was lost, stored twice or wrong."""
    known = {case.name: case for case in CASES}
    if unknown := [name for name in only or () if name not in known]:
        raise typer.BadParameter(f"{json.dumps(unknown)}: choose of {', '.join(known)}")
    install_packages(PACKAGES)
    cases = [known[name] for name in only] if only else list(CASES)
    try:
        sys.exit(asyncio.run(run_drill(cases, per_s, table, keeps=keeps)))
    except ClusterError as error:
        say(str(error))
        sys.exit(1)
    except asyncio.CancelledError:
        say("Stopped.")
        sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
