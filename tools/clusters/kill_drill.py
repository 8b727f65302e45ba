"""Kills, suspends and cuts off each part of three machines under load: `make rehearse-cluster`, as root.

Boxes with `ack` publish through haproxy; rules fire, and webhooks are delivered. In each case some boxes stop
for a known time, some move to another site, and every site becomes humid. The ledger and the receiver of the
webhooks are outside all machines. After each case every sample must be stored once, every alert that was due
must have fired once, at its time and under its site, and been delivered under one id; and no other alert.

    python -m tools.clusters.kill_drill --only log-leader:kill --only database-machine:cut
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import typer

from app.platform.db.database import DATABASE_ERRORS
from bench.publisher import BrokerAccount
from bench.stack import LIMITS
from simulators.rest_client import ApiError, UnreachableError
from tools.clusters.box_load import BoxLoad
from tools.clusters.city_cluster import PACKAGES, CityCluster
from tools.clusters.cluster_command import cancel_on_signals, say
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.drill_cases import CASES, DrillCase, Victim, break_victim, find_victim, mend_victim
from tools.clusters.drill_city import ClusterUnderLoad, HttpReads, make_city, move_boxes
from tools.clusters.drill_results import (
    CaseMarks,
    CaseResult,
    compare_alerts,
    count_stored,
    mark,
    wait_until_settled,
    write_table,
)
from tools.clusters.expected_alerts import AlertComparison, HumidTime
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import install_packages
from tools.rehearsals.webhook_ledger import WebhookLedger

_STEADY_S: Final = 4.0
_STOP_BEFORE_S: Final = 2.0  # how long before the fault some boxes stop
_DOWN_S: Final = 20.0  # how long a killed part stays away
_HANG_S: Final = 30.0
_GAP_S: Final = 120.0
_CASE_S: Final = 420.0
_SHOWN: Final = 20
_FAILURES: Final = (ClusterError, ApiError, UnreachableError, OSError, TimeoutError, *DATABASE_ERRORS)


class KillDrill(ClusterUnderLoad):
    """Runs cases on a cluster that works."""

    _victim = ""

    @cached_property
    def _comparison(self) -> AlertComparison:
        return AlertComparison(self._city.ledgers, self._city.sites)

    async def run_case(self, case: DrillCase) -> CaseResult:
        """Run a case; one that does not come to its end within seven minutes has failed, with the reason."""
        self._victim = ""
        try:
            async with asyncio.timeout(_CASE_S):
                return await self._run_case(case)
        except (*_FAILURES, ExceptionGroup) as failure:
            error = failure.exceptions[0] if isinstance(failure, ExceptionGroup) else failure
            say(f"{case.name}: {error!r}\n{error}")
            first = str(error).split("\n", 1)[0] or repr(error)
            return CaseResult(case.name, self._victim, failure=first.replace("|", "/"))

    async def _run_case(self, case: DrillCase) -> CaseResult:
        """Run a case under load, wait until everything works and is stored, and compare.

        Raises:
            ClusterError: The cluster does not work again.
        """
        await self._cluster.wait_until_ready()
        marks = mark(self._load, self._webhooks)
        calls, failed = self._reads.calls, self._reads.failed
        self._load.resume()
        await asyncio.sleep(_STEADY_S)
        victim = await find_victim(self._cluster, case)
        self._victim = str(victim)
        self._load.stop_some(is_stopped=True)
        await asyncio.sleep(_STOP_BEFORE_S)
        say(f"{time.strftime('%H:%M:%S')} {case.name}: {victim}")
        gap_s = await self._break_and_mend(case, victim)
        await asyncio.sleep(_STEADY_S)
        self._load.pause()
        http = (self._reads.failed - failed, self._reads.calls - calls)
        await wait_until_settled(self._cluster, self._load, self._webhooks)
        return await self._compare(case, str(victim), marks, gap_s, http)

    async def _break_and_mend(self, case: DrillCase, victim: Victim) -> float | None:
        """Let a part fail, and work again; returns after how many seconds samples were stored again."""
        began, began_ms = time.monotonic(), round(time.time() * 1000)
        self._load.is_humid = True
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(self._measure_gap(began))
            await break_victim(self._cluster, case, victim)
            tasks.create_task(move_boxes(self._cluster, self._city))
            try:
                await asyncio.sleep(_DOWN_S if case.action == "kill" else _HANG_S)
            finally:
                await mend_victim(self._cluster, case, victim)
                self._load.stop_some(is_stopped=False)
            await self._cluster.wait_until_ready()
        # Humid until each box has an acknowledged sample: the boxes of a site overlap, however late they are.
        self._load.is_humid = False
        await asyncio.sleep(1.0)
        self._comparison.humid.append(HumidTime(began_ms, round(time.time() * 1000)))
        return measuring.result()

    async def _measure_gap(self, began: float) -> float | None:
        while time.monotonic() < began + _GAP_S:
            if self._load.are_all_acked_since(began):
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        return None

    async def _compare(
        self,
        case: DrillCase,
        victim: str,
        marks: CaseMarks,
        gap_s: float | None,
        http: tuple[int, int],
    ) -> CaseResult:
        stored, twice = await count_stored(self._cluster, marks)
        mobile = {ledger.box for ledger in self._city.mobile}
        alerts, wrong = await compare_alerts(self._cluster, self._comparison, self._webhooks, mobile)
        for each in wrong[:_SHOWN]:
            say(f"{case.name}: {each}")
        return CaseResult(
            name=case.name,
            victim=victim,
            published=self._load.sent - sum(marks.sent.values()),
            stored=stored,
            twice=twice,
            gap_s=gap_s,
            alerts=alerts,
            delivered_twice=self._webhooks.twice - marks.twice,
            http=http,
        )


@asynccontextmanager
async def _open_drill(per_s: float, *, keeps: bool) -> AsyncIterator[KillDrill]:
    """Start a cluster with its load for the length of a block."""
    async with open_cluster_folder(keeps=keeps, say=say) as folder:
        cluster = CityCluster(folder, settings=dict.fromkeys(LIMITS, "0"), say=say)
        note_network(folder, cluster.network.name)
        async with cluster, WebhookLedger(host=cluster.network.address).listening() as webhooks:
            city = await make_city(cluster, webhooks)
            password = cluster.secrets.brokers["gateway"]
            account = BrokerAccount(cluster.mqtt_host, MQTT_PORT, "gateway", password)
            load = BoxLoad(account, city.ledgers, per_s)
            reads = HttpReads(f"{cluster.api}/v1/boxes?limit=10", city.key)
            load.pause()
            async with load.running(), reads.running():
                yield KillDrill(cluster, city, load, webhooks, reads)


async def run_drill(cases: Sequence[DrillCase], per_s: float, table: Path, *, keeps: bool) -> int:
    """Run cases one after another; returns 0 if nothing was lost or wrong.

    All run on one cluster. After a case that has failed, the next ones run on a new one.
    """
    results: list[CaseResult] = []
    cancel_on_signals()

    def note(result: CaseResult) -> None:
        results.append(result)
        say(result.format_row())
        write_table(table, results)

    while len(results) < len(cases):
        done = len(results)
        try:
            async with _open_drill(per_s, keeps=keeps) as drill:
                for case in cases[done:]:
                    note(await drill.run_case(case))
                    if results[-1].failure:
                        break
        except _FAILURES as error:
            say(str(error))
            if len(results) == done:
                reason = str(error).split("\n", 1)[0]
                note(CaseResult(cases[done].name, failure=f"no cluster: {reason}"))
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
    except asyncio.CancelledError:
        say("Stopped.")
        sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
