"""Rehearses the loss of a database host under load: `make rehearse-failover`, as root.

PostgreSQL runs on three hosts under Patroni and etcd, as `deploy/ha/patroni.yml` has it, beside one process
of each role. Under load by MQTT the primary's PostgreSQL is killed, then its whole host, then the host of the
standby that commits wait for. Each time it measures how long nothing is stored. At the end each sample must
be stored once, each alert must have fired once, and each event must have arrived once.

With `--hang` the primary's host hangs instead, and resumes after a standby was promoted and has stored
samples. Its member leads etcd before, which is the worst case. Afterwards the promoted host must still be the
primary: if the former primary has taken its lock back, all that was stored in between is lost.

All of it runs on 127.0.0.1, in a new folder in /tmp, whose logs stay if a step fails. The hosts are
processes, so no network fails here.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from app.platform.db.database import DATABASE_ERRORS
from app.standalone.private_mosquitto import PrivateMosquitto
from bench.stack import PASSWORDS
from tools.rehearsals.city_load import CityLoad, LoadPlan
from tools.rehearsals.patroni_cluster import PACKAGES, DatabaseHost, PatroniCluster
from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages
from tools.rehearsals.role_processes import ROLES, RehearsedServices, this_version
from tools.rehearsals.webhook_ledger import WebhookLedger

_HANG_S: Final = 40.0  # ingest leaves a hanging host after 30 s, the timeout of its statements
_SETTLE_S: Final = 10.0  # two rounds of Patroni
_STORED_WITHIN_S: Final = 60.0
_NEWEST: Final = "SELECT coalesce(sum(stored), 0)::bigint FROM ingest_totals"


class FailoverRehearsal:
    """One rehearsal.

    Args:
        cluster: the database.
        services: broker and processes.
        load: the load.
        report: prints the steps.
        hang_s: how long the primary's host hangs. None: processes and hosts are killed.
    """

    def __init__(
        self,
        cluster: PatroniCluster,
        services: RehearsedServices,
        load: CityLoad,
        report: RehearsalReport,
        *,
        hang_s: float | None,
    ) -> None:
        self._hang_s = hang_s
        self._cluster = cluster
        self._services = services
        self._load = load
        self._report = report

    async def run(self) -> None:
        """Run all steps (RehearsalError)."""
        with self._report.step("schema and processes") as note:
            note(f"revision {await self._services.migrate(this_version())}")
            await asyncio.gather(*(self._services.start(this_version(), role) for role in ROLES))
            await self._load.set_up(next(each.address for each in self._services.running if each.address))
        async with self._load.running():
            await self._observe("a steady load", 10.0)
            if self._hang_s is not None:
                await self._hang(self._hang_s)
            else:
                await self._kill_postgres()
                await self._lose_host("kill -9 of all processes of the primary's host", "leader")
                await self._lose_host(
                    "kill -9 of the host of the standby that commits wait for", "sync_standby"
                )
            await self._observe("a steady load", 10.0)
        await self._compare()

    async def _kill_postgres(self) -> None:
        with self._report.step("kill -9 of the primary's PostgreSQL") as note:
            host = await self._cluster.find_host("leader")
            pid = int((host.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            for process in host.list_processes():
                if process.pid == pid:
                    process.kill()
            await note_gap(self._cluster, self._services, note)
        await self._restore_all(host)

    async def _lose_host(self, title: str, role: str) -> None:
        with self._report.step(title) as note:
            host = await self._cluster.find_host(role)
            self._cluster.kill(host)
            await note_gap(self._cluster, self._services, note)
        with self._report.step(f"{host.name} starts again"):
            await self._cluster.start(host)
        await self._restore_all(host)

    async def _hang(self, seconds: float) -> None:
        host = await self._cluster.find_host("leader")
        with self._report.step(f"{host.name}, the primary, also leads etcd"):
            await self._cluster.move_etcd_leader(host)
            await asyncio.sleep(_SETTLE_S)
        with self._report.step(f"kill -STOP of the primary's host for {seconds:g} s") as note:
            host.send(signal.SIGSTOP)
            try:
                _, promoted = await asyncio.gather(
                    note_gap(self._cluster, self._services, note), self._find_promoted(host, seconds)
                )
            finally:
                host.send(signal.SIGCONT)
            if promoted is host:
                raise RehearsalError("no standby was promoted while it hung")
            note(f"{promoted.name} was promoted")
        await self._restore_all(host)
        with self._report.step(f"{promoted.name} is still the primary") as note:
            members = await self._cluster.read_members()
            note(", ".join(f"{name} {each['role']} {each.get('timeline')}" for name, each in members.items()))
            if await self._cluster.find_host("leader") is not promoted:
                raise RehearsalError(f"another host leads: what {promoted.name} stored is lost; {members}")

    async def _find_promoted(self, host: DatabaseHost, seconds: float) -> DatabaseHost:
        """Resume a host after its time; returns the primary just before."""
        await asyncio.sleep(seconds)
        promoted = await self._cluster.find_host("leader")
        host.send(signal.SIGCONT)
        return promoted

    async def _restore_all(self, host: DatabaseHost) -> None:
        with self._report.step(f"one primary, two standbys ({host.name} follows or leads again)"):
            # What Patroni says of a host that has just started may be older than its start.
            await asyncio.sleep(_SETTLE_S)
            await self._cluster.wait_for_members(primary=1, standbys=2)

    async def _observe(self, state: str, seconds: float) -> None:
        before = self._load.sent
        with self._report.step(state) as note:
            await asyncio.sleep(seconds)
            note(f"{(self._load.sent - before) / seconds:,.0f} samples/s")
            note(f"longest `ack` {self._load.mqtt.take_longest_ack_s() * 1000:,.0f} ms")

    async def _compare(self) -> None:
        with self._report.step("all stored and delivered"):
            await self._load.drain()
        with self._report.step("comparison with the ledger") as note:
            outcome = await self._load.compare()
            note(str(outcome))
            if not outcome.is_good:
                raise RehearsalError(str(outcome))


async def note_gap(cluster: PatroniCluster, services: RehearsedServices, note: Callable[[str], None]) -> None:
    """Note how long nothing is stored from now on, and on which host it is then (RehearsalError)."""
    began = time.monotonic()
    before = await _count_stored(services)
    while time.monotonic() - began < _STORED_WITHIN_S:
        stored = await _count_stored(services)
        if stored is not None and before is None:
            before = stored
        elif stored is not None and before is not None and stored > before:
            primary = await cluster.find_primary()
            note(f"stored again after {time.monotonic() - began:.1f} s")
            note(f"primary: {primary.name if primary else 'unknown'}")
            return
        await asyncio.sleep(0.1)
    members = await cluster.read_members()
    raise RehearsalError(f"nothing was stored within {_STORED_WITHIN_S:g} s; {members}")


async def _count_stored(services: RehearsedServices) -> int | None:
    try:
        async with asyncio.timeout(12):
            return int(str(await services.value(_NEWEST)))
    except DATABASE_ERRORS:
        return None


@contextmanager
def new_folder(report: RehearsalReport) -> Iterator[Path]:
    """Make a folder in /tmp. If a step fails, its logs stay."""
    folder = Path(tempfile.mkdtemp(prefix="vigie-failover-"))
    folder.chmod(0o711)
    try:
        yield folder
    except RehearsalError:
        for data in folder.glob("cluster/*/data"):
            shutil.rmtree(data, ignore_errors=True)
        report.say(f"the logs are in {folder}")
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


async def rehearse(samples_per_s: float, report: RehearsalReport, *, hang_s: float | None) -> None:
    """Run the rehearsal (RehearsalError)."""
    with report.step("Debian packages"):
        install_packages(PACKAGES)
    with new_folder(report) as folder:
        await _rehearse_in(folder, samples_per_s, report, hang_s=hang_s)


async def _rehearse_in(
    folder: Path, samples_per_s: float, report: RehearsalReport, *, hang_s: float | None
) -> None:
    webhooks = WebhookLedger()
    async with webhooks.listening():
        cluster = PatroniCluster(folder / "cluster")
        with report.step("three hosts: etcd, Patroni, PostgreSQL"):
            cluster.folder.mkdir()
        async with (
            cluster.running(),
            PrivateMosquitto(folder / "mosquitto", accounts=PASSWORDS) as mosquitto,
        ):
            services = RehearsedServices(folder, cluster, mosquitto)
            # No calls of the API: while there is no primary it answers 503, which their clients repeat.
            plan = LoadPlan(samples_per_s, calls_per_s=0.0, reads_per_s=0.0, is_database_lost=True)
            load = CityLoad(services, webhooks, plan)
            async with services.stopping_processes():
                await FailoverRehearsal(cluster, services, load, report, hang_s=hang_s).run()


def main(
    *,
    samples_per_s: Annotated[float, typer.Option(min=10.0, help="Samples a second by MQTT")] = 1_000.0,
    hang: Annotated[
        bool, typer.Option("--hang", help="Let the primary's host hang instead of kills")
    ] = False,
    hang_s: Annotated[float, typer.Option(min=25.0, help="How long it hangs (s)")] = _HANG_S,
) -> None:
    """Lose database hosts under load. Exits with 1 if anything was lost or made twice."""
    report = RehearsalReport()
    try:
        asyncio.run(rehearse(samples_per_s, report, hang_s=hang_s if hang else None))
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    sys.exit(report.end())


if __name__ == "__main__":
    typer.run(main)
