"""Rehearses backups of three database hosts over failovers: `make rehearse-patroni-restore`, as root.

PostgreSQL runs on three hosts under Patroni, as `deploy/ha/patroni.yml` has it, with one repository. Under
load of boxes with `ack`, the timers of all hosts make one backup. Then two primaries are lost, the first one
before it has archived its newest WAL. Moments before, at, between and after the losses are restored, and
compared with the ledger of acknowledged samples. At the end all hosts lose their data: one is restored,
Patroni takes it over, and the others copy it.

All of it runs on 127.0.0.1, in a new folder in /tmp, whose logs stay if a step fails.
"""

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx

from app.backups.backup_target import SUPERUSER
from app.backups.scratch_cluster import ScratchCluster
from app.backups.settings import BackupSettings
from app.platform.db.primary_connection import split_hosts
from app.standalone.backup_installation import find_backup_installation
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import DATABASE
from bench.stack import PASSWORDS
from simulators.target_stack import BrokerAddress
from simulators.webhook_receiver import WebhookReceiver
from tools.rehearsals.acknowledged_load import AcknowledgedLoad
from tools.rehearsals.failover import new_folder, note_gap
from tools.rehearsals.patroni_cluster import PACKAGES, DatabaseHost, PatroniCluster
from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages, run_command
from tools.rehearsals.restore import create_fleet
from tools.rehearsals.role_processes import ROLES, RehearsedServices, this_version

_BOXES: Final = [f"drill-{number:02}" for number in range(25)]
_PER_S: Final = 250.0
_LOAD_S: Final = 5.0
_ARCHIVE_S: Final = 90.0  # the archiver looks for files each minute
_SETTLE_S: Final = 10.0  # two rounds of Patroni
_CANNOT: Final = 2
_SWITCH: Final = "SELECT pg_walfile_name(pg_switch_wal())"
_REMOVE: Final = "vigie\nYes I am aware\n"


class HostBackups:
    """Runs the commands of backups on the hosts, as their administrator would.

    Args:
        folder: the rehearsal's folder.
        cluster: the hosts.
    """

    def __init__(self, folder: Path, cluster: PatroniCluster) -> None:
        self._folder = folder
        self._cluster = cluster
        self.recovery_key = folder / "recovery-key"
        self._public = ""

    def settings_of(self, host: DatabaseHost) -> BackupSettings:
        """Return the settings of a host."""
        return BackupSettings(
            recovery_key=self._public,
            path=self._folder / "repository",
            cipher_pass_file=host.folder / "passphrase",
            config_file=host.pgbackrest_conf,
            lock_dir=host.folder / "lock",
            cluster_dir=host.data,
            socket_dir=host.folder,
            port=host.port,
            scratch_dir=self._folder,
        )

    def environment_of(self, host: DatabaseHost) -> dict[str, str]:
        """Return the same settings as environment variables."""
        found = self.settings_of(host).model_dump(mode="json", exclude_unset=True)
        return {f"VIGIE_BACKUP__{name.upper()}": str(value) for name, value in found.items()}

    def make_key(self) -> None:
        """Make the recovery key."""
        printed = run_command(
            [sys.executable, "-P", "-m", "app", "backup", "keygen", "--out", str(self.recovery_key)]
        )
        self._public = printed.partition("VIGIE_BACKUP__RECOVERY_KEY=")[2].strip()

    async def vigie(self, host: DatabaseHost, *words: str, expect: int = 0) -> str:
        """Run a command of Vigie on a host; returns what it printed (RehearsalError)."""
        base = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-P", "-m", "app", *words],
            env=base | self.environment_of(host),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        output = f"{done.stdout}{done.stderr}"
        if done.returncode != expect:
            raise RehearsalError(
                f"{host.name}: vigie {' '.join(words)}: {done.returncode}:\n{output[-2000:]}"
            )
        return output

    async def set_up(self, primary: DatabaseHost, standbys: list[DatabaseHost]) -> None:
        """Set up all hosts, and let Patroni archive the WAL (RehearsalError)."""
        refusal = await self.vigie(standbys[0], "backup", "setup", expect=_CANNOT)
        if "is a standby" not in refusal or "Copy" not in refusal:
            raise RehearsalError(f"a standby made a passphrase of its own: {refusal}")
        await self.vigie(primary, "backup", "setup")
        passphrase = primary.folder / "passphrase"
        # A passphrase of its own is refused, too.
        for host in standbys:
            copy = host.folder / passphrase.name
            shutil.copy(passphrase, copy)
            shutil.chown(copy, SUPERUSER, SUPERUSER)
            await self.vigie(host, "backup", "setup")
        printed = [await self.vigie(host, "backup", "setup") for host in (primary, *standbys)]
        if any("pgBackRest's configuration" in each for each in printed):
            raise RehearsalError(f"`vigie backup setup` is not idempotent: {printed}")
        (command,) = [line for line in printed[0].splitlines() if line.startswith("patronictl")]
        # On three machines pgBackRest's configuration has the same path.
        command = command.replace(f"{primary.folder}/", '"$HOME"/')
        run_command(shlex.split(command.replace("/etc/patroni/vigie.yml", str(primary.patroni_conf))))


class PatroniRestoreRehearsal:
    """One rehearsal.

    Args:
        cluster: the database.
        services: broker and processes.
        backups: the commands.
        report: prints the steps.
        folder: the rehearsal's folder.
    """

    def __init__(
        self,
        cluster: PatroniCluster,
        services: RehearsedServices,
        backups: HostBackups,
        report: RehearsalReport,
        folder: Path,
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._backups = backups
        self._report = report
        self._folder = folder
        broker = services.gateway
        address = BrokerAddress(broker.host, broker.port, broker.username, broker.password)
        self._load = AcknowledgedLoad(address, _BOXES, _PER_S)
        self._moments: dict[str, datetime] = {}

    async def run(self, receiver: WebhookReceiver) -> None:
        """Run all steps (RehearsalError)."""
        with self._report.step("vigie backup setup on three hosts; patronictl edit-config"):
            primary = await self._cluster.find_host("leader")
            await self._backups.set_up(
                primary, [host for host in self._cluster.hosts.values() if host is not primary]
            )
            self._services.settings.update(self._backups.environment_of(primary))
        with self._report.step("schema and processes"):
            await self._services.migrate(this_version())
            await self._start_roles()
            await self._create_boxes(receiver)
            await self._services.wait_for("the sealed keys", self._has_bundle)
        async with self._load.running():
            await asyncio.sleep(_LOAD_S)
            await self._run_timers()
            await self._mark("before both losses")
            await self._lose_archiving_primary()
            await self._mark("between the losses")
            await self._lose_primary()
            await self._mark("after both losses")
        await self._archive_all()
        for title, moment in self._moments.items():
            await self._restore_copy(title, moment)
        await self._restore_all(self._moments["between the losses"])
        await self._go_on()

    async def _start_roles(self) -> None:
        await asyncio.gather(*(self._services.start(this_version(), role) for role in ROLES))

    async def _create_boxes(self, receiver: WebhookReceiver) -> None:
        address = next(each.address for each in self._services.running if each.address)
        headers = {"Authorization": f"Bearer {self._services.admin_key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as api:
            await create_fleet(api, receiver)

    async def _has_bundle(self) -> bool:
        return bool(await self._services.value("SELECT count(*) FROM recovery_bundles"))

    async def _mark(self, title: str) -> None:
        """Remember a moment, with load before and after it."""
        await asyncio.sleep(_LOAD_S)
        self._moments[title] = datetime.now(UTC)
        await asyncio.sleep(_LOAD_S)

    async def _run_timers(self) -> None:
        """Run the command of the nightly timer on all hosts at once: one backup is made."""
        with self._report.step("vigie backup --scheduled on all hosts") as note:
            outputs = await asyncio.gather(
                *(self._backups.vigie(host, "backup", "--scheduled") for host in self._cluster.hosts.values())
            )
            made = [each.splitlines()[0] for each in outputs if "in the repository" in each]
            standbys = [each for each in outputs if "is a standby" in each]
            if (len(made), len(standbys)) != (1, 2):
                raise RehearsalError(f"not one backup: {outputs}")
            note(made[0])

    async def _lose_archiving_primary(self) -> None:
        """Lose a primary that has not archived its newest segments, and does not come back for them."""
        with self._report.step("kill -9 of the primary's host, with WAL that it has not archived") as note:
            host = await self._cluster.find_host("leader")
            (archiver,) = [each for each in host.list_processes() if "archiver" in " ".join(each.cmdline())]
            archiver.send_signal(signal.SIGSTOP)
            for _ in range(2):
                lost = str(await self._services.value(_SWITCH))
                await self._mark("in WAL that the lost primary had not archived")
            if lost in self._list_archive():
                raise RehearsalError(f"{lost} is archived")
            self._cluster.kill(host)
            await note_gap(self._cluster, self._services, note)
        with self._report.step("the new primary archives that WAL") as note:
            began = time.monotonic()
            await self._wait(f"{lost} in the archive", lambda: lost in self._list_archive())
            note(f"{lost}, {time.monotonic() - began:.1f} s after it stored again")
        with self._report.step("vigie backup --scheduled on the new primary") as note:
            output = await self._backups.vigie(
                await self._cluster.find_host("leader"), "backup", "--scheduled"
            )
            if "began less than six hours ago" not in output:
                raise RehearsalError(f"a second backup of the night: {output}")
            note("no second backup of the night")
        await self._return(host)

    async def _lose_primary(self) -> None:
        with self._report.step("kill -9 of the new primary's host") as note:
            host = await self._cluster.find_host("leader")
            self._cluster.kill(host)
            await note_gap(self._cluster, self._services, note)
        await self._return(host)

    async def _return(self, host: DatabaseHost) -> None:
        with self._report.step(f"{host.name} comes back, and follows"):
            await self._cluster.start(host)
            await asyncio.sleep(_SETTLE_S)
            await self._cluster.wait_for_members(primary=1, standbys=2)

    def _list_archive(self) -> set[str]:
        """Return the segments in the archive."""
        found = (self._folder / "repository" / "archive").rglob("*-*.zst")
        return {path.name.partition("-")[0] for path in found}

    async def _wait(self, what: str, is_done: Callable[[], bool]) -> None:
        async def ask() -> bool:
            return is_done()

        await self._services.wait_for(what, ask, _ARCHIVE_S)

    async def _archive_all(self) -> None:
        with self._report.step("the archive is complete") as note:
            newest = str(await self._services.value(_SWITCH))
            await self._wait(f"{newest} in the archive", lambda: newest in self._list_archive())
            state = await self._services.rows("SELECT * FROM pg_stat_archiver")
            note(f"{len(self._load.sent)} samples, {len(self._load.acked)} acknowledged; {newest}")
            note(f"{state[0]['failed_count']} failed attempts on this primary")

    async def _restore_copy(self, title: str, moment: datetime) -> None:
        """Restore a moment beside the running cluster, and compare it with the ledger."""
        with self._report.step(f"vigie restore --to MOMENT: {title}") as note:
            host = await self._cluster.find_host("sync_standby")
            copy, run_dir = self._folder / "copy", self._folder / "run"
            began = time.monotonic()
            words = ("restore", "--to", moment.isoformat(), "--cluster-dir", str(copy))
            await self._backups.vigie(host, *words)
            note(f"{time.monotonic() - began:.1f} s")
            target = find_backup_installation(
                None, self._backups.settings_of(host).model_copy(update={"cluster_dir": copy})
            ).target
            target.make_folder(run_dir)
            async with ScratchCluster(target, copy, run_dir, durable=False):
                url = f"postgresql://{SUPERUSER}@/{DATABASE}?host={run_dir}&port=5432"
                await self._compare(url, moment, note)
            shutil.rmtree(copy)
            shutil.rmtree(run_dir)

    async def _compare(self, url: str, moment: datetime, note: Callable[[str], None]) -> None:
        found = await self._load.compare(url, moment)
        note(str(found))
        if found.missing or found.present or found.unknown or not found.acknowledged_before:
            raise RehearsalError(str(found))

    async def _restore_all(self, moment: datetime) -> None:
        """Restore the cluster on one host, as the runbook "Restore all" has it."""
        with self._report.step("all processes stop; all hosts lose their data"):
            for process in list(self._services.running):
                await self._services.stop(process)
            hosts = list(self._cluster.hosts.values())
            await asyncio.gather(*(self._cluster.stop(host, ["patroni"]) for host in hosts))
            for host in hosts:
                shutil.rmtree(host.data)
        began = time.monotonic()
        first, *others = hosts
        with self._report.step(f"{first.name}: vigie restore --to MOMENT --take-over") as note:
            place = ("--cluster-dir", str(first.data), "--recovery-key", str(self._backups.recovery_key))
            words = ("restore", "--to", moment.isoformat(), "--take-over", *place)
            output = await self._backups.vigie(first, *words)
            note(output.strip().splitlines()[1])
        with self._report.step(f"patronictl remove; {first.name} starts Patroni"):
            patronictl = ["patronictl", "-c", str(first.patroni_conf)]
            run_command([*patronictl, "remove", "vigie"], text=_REMOVE)
            await self._cluster.start(first, ["patroni"])
            await self._wait_for_leader(first)
        with self._report.step("the others start Patroni, and copy it") as note:
            await asyncio.gather(*(self._cluster.start(host, ["patroni"]) for host in others))
            await self._cluster.wait_for_members(primary=1, standbys=2)
            note(f"{time.monotonic() - began:.1f} s after the restore began")
            await asyncio.sleep(_SETTLE_S)
            config = run_command([*patronictl, "show-config"])
            if "synchronous_mode: true" not in config or "archive-push" not in config:
                raise RehearsalError(f"the cluster lost its configuration: {config}")
        with self._report.step("ledger of acknowledged samples") as note:
            urls = split_hosts(self._cluster.superuser_url)
            await self._compare(next(url for url in urls if f":{first.port}/" in url), moment, note)

    async def _wait_for_leader(self, host: DatabaseHost) -> None:
        async def ask() -> bool:
            return await self._cluster.find_primary() is host

        await self._services.wait_for(f"{host.name} leads", ask, _ARCHIVE_S)

    async def _go_on(self) -> None:
        """Store, back up and verify on the restored cluster."""
        with self._report.step("processes start, and store again") as note:
            await self._start_roles()
            before = len(self._load.acked)
            async with self._load.running():
                await asyncio.sleep(_LOAD_S)
            note(f"{len(self._load.acked) - before} samples acknowledged")
            if len(self._load.acked) == before:
                raise RehearsalError("no sample was acknowledged")
        primary = await self._cluster.find_host("leader")
        for words in (("--type", "full"), ("verify", "--recovery-key", str(self._backups.recovery_key))):
            with self._report.step(f"vigie backup {' '.join(words[:2])} on the new timeline") as note:
                note((await self._backups.vigie(primary, "backup", *words)).splitlines()[0])
        with self._report.step("metrics of `maintain`") as note:
            printed = await self._backups.vigie(primary, "backup", "list", "--json")
            listed = {each["label"] for each in json.loads(printed)}
            rows = {row["label"] for row in await self._services.rows("SELECT label FROM backups")}
            if listed != rows:
                raise RehearsalError(f"the database lists {rows}, the repository {listed}")
            note(f"{len(rows)} backups, as in the repository")


async def rehearse(report: RehearsalReport) -> None:
    """Run the rehearsal (RehearsalError)."""
    with report.step("Debian packages"):
        install_packages([*PACKAGES, "pgbackrest"])
    with new_folder(report) as folder:
        cluster = PatroniCluster(folder / "cluster")
        backups = HostBackups(folder, cluster)
        with report.step("vigie backup keygen"):
            backups.make_key()
            cluster.folder.mkdir()
        async with (
            cluster.running(),
            PrivateMosquitto(folder / "mosquitto", accounts=PASSWORDS) as mosquitto,
            WebhookReceiver(print_line=lambda _: None) as receiver,
        ):
            services = RehearsedServices(folder, cluster, mosquitto)
            async with services.stopping_processes():
                await PatroniRestoreRehearsal(cluster, services, backups, report, folder).run(receiver)


def main() -> int:
    """Run the rehearsal; the exit status is 1 if a step failed."""
    report = RehearsalReport()
    try:
        asyncio.run(rehearse(report))
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
