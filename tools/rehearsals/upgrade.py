"""Rehearses an upgrade under load, and the way back: `make rehearse-upgrade`.

The processes of an older version run on their own schema, under load: samples by MQTT and HTTP, reads, a rule
that fires, a signed webhook. Then the schema is migrated while they run; the processes of this version start
beside them; the older ones stop one at a time; and all of it backwards, while the schema stays. At the end
each sample must be stored once, each alert must have fired once, each event must have arrived once, and no
call may have been refused.

All of it runs on 127.0.0.1, in a new folder in /tmp.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import asyncpg
import typer

from tools.rehearsals.city_load import CityLoad, LoadPlan
from tools.rehearsals.report import RehearsalError, RehearsalReport
from tools.rehearsals.role_processes import (
    ROLES,
    ProgramVersion,
    RehearsedServices,
    RunningRole,
    install_commit,
    rehearsed_services,
    this_version,
)
from tools.rehearsals.webhook_ledger import WebhookLedger

BEFORE_RELEASES: Final = "fb6742900da1"
"""The commit to upgrade from while there is no release with a tag: the last one before the console, servers,
containers and backups were added. Its schema is of revision 0040."""

CACHE: Final = Path.home() / ".cache" / "vigie-rehearsals"
"""Where former versions are installed."""

_WARM_S: Final = 15.0
_READY: Final = 200
_KNOWS_NEWER_SCHEMAS: Final = "0049"
_LOCK_EVERY_S: Final = 0.05
_LOCKS: Final = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks"
    " WHERE NOT granted AND locktype <> 'advisory'"
)


class LockMonitor:
    """Measures how long statements wait for locks of tables and rows.

    Attributes:
        longest_s: the longest wait since the last call of `take`.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    def take(self) -> float:
        """Return the longest wait since the last call."""
        longest, self.longest_s = self.longest_s, 0.0
        return longest

    @asynccontextmanager
    async def watching(self, database_url: str) -> AsyncIterator[None]:
        """Watch for the length of a block."""
        connection = await asyncpg.connect(database_url)

        async def watch() -> None:
            while True:
                self.longest_s = max(self.longest_s, await connection.fetchval(_LOCKS))
                await asyncio.sleep(_LOCK_EVERY_S)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            await connection.close()


class UpgradeRehearsal:
    """Runs the steps of an upgrade and of the way back.

    Args:
        services: database and broker.
        load: the load.
        report: prints the steps.
        stay_s: how long each state is observed.
    """

    def __init__(
        self, services: RehearsedServices, load: CityLoad, report: RehearsalReport, stay_s: float
    ) -> None:
        self._services = services
        self._load = load
        self._report = report
        self._stay_s = stay_s
        self._locks = LockMonitor()
        self._roles: dict[str, RunningRole] = {}

    async def run(self, old: ProgramVersion, new: ProgramVersion) -> None:
        """Run all steps (RehearsalError)."""
        with self._report.step("the old version's schema and processes") as note:
            revision = await self._services.migrate(old)
            note(f"revision {revision}")
            await self._start(old)
            await self._load.set_up(self._roles["api"].address)
        async with self._locks.watching(self._services.postgres.superuser_url), self._load.running():
            await self._observe("old processes on the old schema", _WARM_S)
            with self._report.step("vigie migrate of the new version, under load") as note:
                note(f"revision {await self._services.migrate(new)}")
                note(f"longest wait for a lock {self._locks.take() * 1000:.0f} ms")
            await self._observe("old processes on the new schema", self._stay_s)
            await self._note_readiness(is_required=revision >= _KNOWS_NEWER_SCHEMAS)
            await self._replace(new)
            await self._observe("new processes on the new schema", self._stay_s)
            if revision >= _KNOWS_NEWER_SCHEMAS:
                with self._report.step("vigie migrate of the old version, on the new schema") as note:
                    note(f"revision {await self._services.migrate(old)}")
            await self._replace(old)
            await self._observe("old processes again, on the new schema", self._stay_s)
        await self._compare()

    async def _replace(self, version: ProgramVersion) -> None:
        """Start the processes of a version beside those that run, then stop these one at a time."""
        former = self._roles
        with self._report.step(f"{version.name} processes start beside the others"):
            await self._start(version)
            self._load.http.addresses.append(self._roles["api"].address)
        await self._observe("both versions side by side", self._stay_s / 2)
        for role in ROLES:
            await self._hand_over(former[role], self._roles[role])

    async def _start(self, version: ProgramVersion) -> None:
        started = await asyncio.gather(*(self._services.start(version, role) for role in ROLES))
        self._roles = {process.role: process for process in started}

    async def _hand_over(self, former: RunningRole, successor: RunningRole) -> None:
        """Stop a process, and wait until its successor works."""
        with self._report.step(f"{former.version.name} {former.role} stops (SIGTERM)") as note:
            note(f"ended after {await self._services.stop(former):.1f} s")
            await self._services.wait_for(
                f"the {successor.version.name} {successor.role} works",
                lambda: self._services.is_working(successor.role, successor.pid),
            )
            if former.address:
                self._load.http.addresses.remove(former.address)
            await asyncio.sleep(1.0)
            self._note_delays(note)

    async def _observe(self, state: str, seconds: float) -> None:
        sent, handled = self._load.sent, len(self._load.webhooks.handled)
        with self._report.step(state) as note:
            await asyncio.sleep(seconds)
            ended = [each for each in self._services.running if each.child.returncode is not None]
            if ended:
                raise RehearsalError(f"{ended[0].version.name} {ended[0].role} ended by itself")
            note(f"{(self._load.sent - sent) / seconds:,.0f} samples/s")
            note(f"{(len(self._load.webhooks.handled) - handled) / seconds:.0f} webhooks/s")
            self._note_delays(note)

    def _note_delays(self, note: Callable[[str], None]) -> None:
        """Note the longest delays since the last note."""
        longest_call, self._load.http.longest_s = self._load.http.longest_s, 0.0
        note(f"longest `ack` {self._load.mqtt.take_longest_ack_s() * 1000:,.0f} ms")
        note(f"longest call {longest_call * 1000:,.0f} ms")
        note(f"longest wait for a lock {self._locks.take() * 1000:,.0f} ms")
        note(f"refused {len(self._load.http.refused)}")

    async def _note_readiness(self, *, is_required: bool) -> None:
        """Ask the running API on a schema of a newer version whether it is ready.

        Raises:
            RehearsalError: It has to be, and is not: a load balancer would take it out of service.
        """
        with self._report.step("GET /readyz of the old API on the new schema") as note:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self._roles['api'].address}/readyz") as answer,
            ):
                note(str(answer.status))
                if answer.status != _READY and is_required:
                    raise RehearsalError(f"{answer.status}: {await answer.text()}")
                if answer.status != _READY:
                    note("expected of versions before 0.3, which know no newer schema")

    async def _compare(self) -> None:
        with self._report.step("all stored and delivered"):
            await self._load.drain()
        with self._report.step("comparison with the ledger") as note:
            outcome = await self._load.compare()
            note(str(outcome))
            calls = self._load.http.calls
            note(f"{calls['sent']:,} calls of HTTP ingest and {calls['read']:,} reads")
            note(f"{self._load.http.elsewhere} calls went to the other API after a connection failed")
            if not outcome.is_good:
                raise RehearsalError("; ".join([str(outcome), *self._load.http.refused[:3]]))


def find_former_version(otherwise: str = BEFORE_RELEASES) -> str:
    """Return the newest release tag, or `otherwise` if there is none."""
    done = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"],  # noqa: S607 (from the PATH)
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or otherwise


async def rehearse(former: str, stay_s: float, plan: LoadPlan, report: RehearsalReport) -> None:
    """Run the rehearsal (RehearsalError)."""
    with report.step(f"installation of {former}") as note:
        old = await asyncio.to_thread(install_commit, former, CACHE)
        note(str(old.python.parents[2]))
    webhooks = WebhookLedger()
    async with webhooks.listening(), rehearsed_services() as services:
        load = CityLoad(services, webhooks, plan)
        await UpgradeRehearsal(services, load, report, stay_s).run(old, this_version())


def main(
    *,
    former: Annotated[str, typer.Option("--from", help="Commit or tag to upgrade from")] = "",
    stay: Annotated[float, typer.Option(min=2.0, help="Seconds to observe each state")] = 20.0,
    samples_per_s: Annotated[float, typer.Option(min=10.0, help="Samples a second by MQTT")] = 1_000.0,
) -> None:
    """Upgrade a version under load, and go back. Exits with 1 if anything was lost, refused or made twice."""
    report = RehearsalReport()
    try:
        asyncio.run(
            rehearse(former or find_former_version(), stay, LoadPlan(samples_per_s=samples_per_s), report)
        )
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    sys.exit(report.end())


if __name__ == "__main__":
    typer.run(main)
