"""Rehearses a server: a fresh Debian 13, from nothing to a stored sample, then faults and backups.

`make rehearse-server` runs it, as root. It installs the Debian packages it needs, and prints every command
in the machine with its seconds.
"""

import argparse
import os
import re
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.server_installation.server_paths import EDGE, ROLES, ServerPaths
from app.server_installation.server_secrets import ADMIN_KEY, read_env_file
from tools.rehearsals.debian_machine import FOLDER, DebianMachine, build_base_archive, private_network
from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages, wait_for
from tools.rehearsals.restore import flip_one_byte
from tools.rehearsals.server_clients import (
    HTTPS,
    MQTTS,
    NAME,
    ApiClient,
    CertificateAuthority,
    LedgerBox,
)

_BOX: Final = "box-0001"
_LEDGER_BOX: Final = "box-0002"
_MAX_EXPOSURE: Final = 2.5
_TLS: Final = "/root/tls"
# One node, of which a partition needs no other.
_NATS: Final = """listen: "127.0.0.1:4222"
max_payload: 8MB
jetstream { store_dir: "/var/lib/nats/jetstream" }
authorization { user: "vigie", password: "a-password-of-the-rehearsal" }
"""
_LOG_SETTINGS: Final = """VIGIE_MESSAGE_LOG__PASSWORD=a-password-of-the-rehearsal
VIGIE_MESSAGE_LOG__REPLICAS=1
VIGIE_MESSAGE_LOG__MAX_BYTES=16777216
"""
_PACKAGES: Final = ("debootstrap", "systemd-container", "nftables", "iproute2")


class ServerRehearsal:
    """Runs the steps of the rehearsal in their order."""

    def __init__(self, report: RehearsalReport) -> None:
        self.report = report
        self.machine = DebianMachine("server")
        self.paths = ServerPaths(self.machine.root)
        self.authority = CertificateAuthority(self.machine.root / _TLS.lstrip("/"))

    def run(self) -> None:
        """Run all steps (RehearsalError at the first one that fails)."""
        self._prepare()
        try:
            self._install()
            client = self._store_a_sample()
            self._check_units()
            self._break_processes(client)
            self._renew_certificate()
            self._stop_and_start()
            self._use_message_log()
            self._back_up()
            self._examine()
            self._let_caddy_obtain_certificates()
        finally:
            self._save_journal()
            self.machine.stop()

    def _command(self, *words: str, timeout_s: float = 600.0) -> str:
        """Run a command in the machine as a step of its own."""
        with self.report.step(f"# {' '.join(words)}"):
            return self.machine.run(*words, timeout_s=timeout_s)

    def _prepare(self) -> None:
        with self.report.step("debootstrap of Debian 13 (once; then its archive)") as note:
            note(str(build_base_archive()))
        with self.report.step("a fresh machine, with a copy of this clone"):
            self.machine.unpack()
            self.machine.copy_clone()
            self.authority.issue()
        with self.report.step("boot") as note:
            note(self.machine.boot())

    def _install(self) -> None:
        install = ("sh", "vigie/deploy/install.sh", "--ca", "/etc/ssl/certs/ca-certificates.crt", "--server")
        options = ("--name", NAME, "--certificate", f"{_TLS}/certificate.pem", "--key", f"{_TLS}/key.pem")
        self._show(self._command(*install, *options, "--dry-run").splitlines()[-4:])
        if any((self.machine.root / each).exists() for each in ("opt/vigie", "etc/vigie")):
            raise RehearsalError("the dry run changed something")
        printed = self._command(*install, *options, "--workers", "2", timeout_s=1200)
        self._show(
            line for line in printed.splitlines() if re.search(r"done in|changes?,|changes made", line)
        )
        self._check_second_run(self._command("sh", "vigie/deploy/install.sh", "--server"))

    def _check_second_run(self, printed: str) -> None:
        if "Nothing to change" not in printed:
            raise RehearsalError(f"the second run changed something:\n{printed}")
        self._show(printed.splitlines()[-3:])

    def _show(self, lines: Iterator[str] | list[str]) -> None:
        for line in lines:
            self.report.say(f"    | {line}")

    def _store_a_sample(self) -> ApiClient:
        client = ApiClient(self.authority, read_env_file(self.paths.env_file("api"))[ADMIN_KEY])
        with self.report.step("enrol two boxes through the proxy, by TLS") as note:
            site = client.call(
                "POST",
                "/v1/sites",
                name="Rue de Metz",
                kind="street",
                timezone="Europe/Paris",
                location={"type": "Point", "coordinates": [1.4453, 43.6009]},
            )
            self.passwords = {}
            for box in (_BOX, _LEDGER_BOX):
                began = time.monotonic()
                made = client.call("POST", "/v1/boxes", id=box, site_id=site["id"])
                self.passwords[box] = made["credentials"]["password"]
                note(f"{box} may log in after {time.monotonic() - began:.2f} s")
        topic, payload = f"vigie/v1/{_BOX}/telemetry", f'{{"time": "{_now()}", "values": {{"co2": 612}}}}'
        with self.report.step(f"# mosquitto_pub -p {MQTTS} --cafile ca.pem -u {_BOX} … -m '{payload}'"):
            where = ("-h", "127.0.0.1", "-p", str(MQTTS), "--cafile", f"{_TLS}/ca.pem", "--insecure")
            account = ("-u", _BOX, "-P", self.passwords[_BOX])
            self.machine.run("mosquitto_pub", *where, *account, "-q", "1", "-t", topic, "-m", payload)
        with self.report.step(f"GET https://{NAME}/v1/boxes/{_BOX}/latest") as note:
            found = wait_for(
                "the sample", lambda: client.call("GET", f"/v1/boxes/{_BOX}/latest")["values"], 10.0
            )
            note(str(found))
        with self.report.step("a report as PDF and an export as Parquet, by child processes") as note:
            report = client.fetch(f"/v1/sites/{site['id']}/reports/day?format=pdf")
            export = client.fetch(f"/v1/readings/export?box={_BOX}&metric=co2&format=parquet")
            if not report.startswith(b"%PDF") or not export.startswith(b"PAR1"):
                raise RehearsalError(f"{report[:20]!r}, {export[:20]!r}")
            note(f"{len(report)} and {len(export)} bytes")
        return client

    def _check_units(self) -> None:
        units = sorted(path.name for path in self.paths.units.glob("vigie-*.service"))
        with self.report.step("# systemd-analyze verify") as note:
            done = self.machine.run("systemd-analyze", "verify", "vigie.target", *units)
            if done.strip():
                raise RehearsalError(done)
            note("silent")
        with self.report.step("# systemd-analyze security") as note:
            for unit in units:
                line = (
                    self.machine.run("systemd-analyze", "security", "--no-pager", unit)
                    .strip()
                    .splitlines()[-1]
                )
                found = re.search(r"for (\S+): ([\d.]+)", line)
                if found is None or float(found[2]) > _MAX_EXPOSURE:
                    raise RehearsalError(line)
                note(f"{unit} {found[2]}")
        self._command("systemctl", "is-active", "vigie.target", *(f"vigie-{role}.service" for role in ROLES))

    def _break_processes(self, client: ApiClient) -> None:
        """Kill each process, and stop two, while a box publishes: no acknowledged sample may be lost."""
        ledger = LedgerBox(self.authority, _LEDGER_BOX, self.passwords[_LEDGER_BOX])
        with ledger.publishing():
            wait_for("messages", lambda: ledger.acknowledged > 20)  # noqa: PLR2004 (it publishes steadily)
            for role in ROLES:
                with self._restarted(f"kill -9 of vigie-{role}", f"vigie-{role}.service") as pid:
                    self.machine.run("kill", "-9", str(pid))
            with self._restarted(
                "kill -STOP of vigie-ingest: the watchdog ends it", "vigie-ingest.service"
            ) as pid:
                self.machine.run("kill", "-STOP", str(pid))
            self._hang_api_worker()
            time.sleep(2)
        with self.report.step("every acknowledged sample is stored") as note:
            lost = wait_for("the samples", lambda: self._count_lost(ledger), 60.0)
            note(f"{ledger.acknowledged} acknowledged by the broker; {lost}")
        self._kill_broker()
        with self.report.step(f"GET https://{NAME}/readyz"):
            wait_for("readiness", client.is_ready)

    def _kill_broker(self) -> None:
        """Kill the broker. It may lose acknowledged messages in its queue: only `ack` prevents that."""
        ledger = LedgerBox(self.authority, _LEDGER_BOX, self.passwords[_LEDGER_BOX])
        with ledger.publishing(), self.report.step("kill -9 of mosquitto: boxes connect again") as note:
            wait_for("messages", lambda: ledger.acknowledged > 20)  # noqa: PLR2004 (it publishes steadily)
            before, began = ledger.connections, time.monotonic()
            self.machine.run("systemctl", "kill", "--signal=KILL", "mosquitto.service")
            wait_for("the box", lambda: ledger.connections > before)
            note(f"after {time.monotonic() - began:.1f} s")

    def _count_lost(self, ledger: LedgerBox) -> str | None:
        stored = self._count_samples(_LEDGER_BOX)
        return f"{stored} stored" if stored >= ledger.acknowledged else None

    def _count_samples(self, box: str = "%") -> int:
        sql = f"SELECT count(*) FROM samples JOIN boxes b ON b.key = box_key WHERE b.id LIKE '{box}'"  # noqa: S608 (a constant)
        return int(self.machine.run("runuser", "-u", "postgres", "--", "psql", "-Atc", sql, "vigie"))

    @contextmanager
    def _restarted(self, title: str, unit: str) -> Iterator[int]:
        """Break a unit's process in the block, and wait until another one works."""
        with self.report.step(title) as note:
            before = self._main_pid(unit)
            began = time.monotonic()
            yield before
            wait_for(f"another process of {unit}", lambda: self._main_pid(unit) not in {0, before}, 60.0)
            wait_for(
                f"{unit} to be active", lambda: self.machine.ask("systemctl", "is-active", unit) == "active"
            )
            note(f"active again after {time.monotonic() - began:.1f} s")

    def _main_pid(self, unit: str) -> int:
        return int(self.machine.ask("systemctl", "show", "--property=MainPID", "--value", unit) or 0)

    def _hang_api_worker(self) -> None:
        with self.report.step("kill -STOP of one of two API workers: their parent replaces it") as note:
            before = self._workers()
            began = time.monotonic()
            self.machine.run("kill", "-STOP", before[0])
            wait_for("another worker", lambda: len(now := self._workers()) == len(before) and now != before)
            note(f"after {time.monotonic() - began:.1f} s")

    def _workers(self) -> list[str]:
        return sorted(self.machine.ask("pgrep", "--full", "app api-worker").split())

    def _renew_certificate(self) -> None:
        ledger = LedgerBox(self.authority, _LEDGER_BOX, self.passwords[_LEDGER_BOX])
        with ledger.publishing():
            wait_for("messages", lambda: ledger.acknowledged > 20)  # noqa: PLR2004 (it publishes steadily)
            with self.report.step("a renewed certificate (vigie-certificate.path)") as note:
                serial = self.authority.issue()
                for port in (MQTTS, HTTPS):
                    wait_for(f"port {port}", lambda port=port: self._serves(port, serial), 30.0)  # type: ignore[misc]
                mark = ledger.acknowledged
                wait_for("the open connection", lambda: ledger.acknowledged > mark + 20)
                if ledger.connections != 1:
                    raise RehearsalError("the box had to connect again")
                note("served by both ports; the box's connection stayed open")

    def _serves(self, port: int, serial: int) -> bool:
        try:
            return self.authority.served_by(port) == serial
        except (OSError, ssl.SSLError):
            return False

    def _stop_and_start(self) -> None:
        ledger = LedgerBox(self.authority, _LEDGER_BOX, self.passwords[_LEDGER_BOX])
        self._command("systemctl", "stop", "vigie.target")
        units = [f"vigie-{role}.service" for role in ROLES]
        with self.report.step("the processes have drained"):
            wait_for(
                "the stop",
                lambda: set(self.machine.ask("systemctl", "is-active", *units).split()) == {"inactive"},
                20.0,
            )
        before = self._count_samples()
        with self.report.step("a box publishes meanwhile: the broker queues") as note, ledger.publishing():
            wait_for("messages", lambda: ledger.acknowledged > 50)  # noqa: PLR2004 (it publishes steadily)
            note(f"{ledger.acknowledged} messages")
        self._command("systemctl", "start", "vigie.target")
        with self.report.step("the queue is drained"):
            wait_for("the samples", lambda: self._count_samples() >= before + ledger.acknowledged)

    def _use_message_log(self) -> None:
        """Put a message log between broker and ingest, as on several machines, and take it away again."""
        self._command("apt-get", "-y", "-q", "--no-install-recommends", "install", "nats-server")
        (self.machine.root / "etc/nats-server.conf").write_text(_NATS, encoding="utf-8")
        # Debian's package makes no folder for the log.
        self._command("install", "-d", "-o", "nats", "-g", "nats", "/var/lib/nats")
        self._command("systemctl", "restart", "nats-server")
        self._command("systemctl", "is-active", "nats-server")
        (self.paths.settings / "local.env").write_text(_LOG_SETTINGS, encoding="utf-8")
        address = self.machine.run("hostname", "-I").split()[0]
        options = (
            *("--edge", "machine1", "--edge-host", address, "--log-servers", "127.0.0.1:4222"),
            # The cluster of this machine stands in for the database that several machines share.
            *("--database-hosts", "127.0.0.1:5432"),
        )
        install = ("vigie", "install", "--server")
        for words in ((*options, "--dry-run"), options):
            self._show(self._command(*install, *words).splitlines()[-3:])
        self._check_second_run(self._command(*install))
        self._check_units()
        ledger = LedgerBox(self.authority, _LEDGER_BOX, self.passwords[_LEDGER_BOX])
        before = self._count_samples()
        with ledger.publishing():
            wait_for("messages", lambda: ledger.acknowledged > 20)  # noqa: PLR2004 (it publishes steadily)
            for role in (EDGE, "ingest"):
                with self._restarted(f"kill -9 of vigie-{role}", f"vigie-{role}.service") as pid:
                    self.machine.run("kill", "-9", str(pid))
        with self.report.step("every acknowledged sample went through the log") as note:
            wait_for("the samples", lambda: self._count_samples() >= before + ledger.acknowledged, 60.0)
            note(f"{ledger.acknowledged} acknowledged by the broker")
        with self.report.step("the load balancer's check of the edge"):
            urllib.request.urlopen(f"http://{address}:8004/healthz", timeout=5).close()
        if "ok       edge machine1" not in (found := self.machine.ask("vigie", "doctor")):
            raise RehearsalError(f"`vigie doctor` does not show the edge:\n{found}")
        for role in (EDGE, "ingest"):
            self._command("systemctl", "stop", f"vigie-{role}")
        with self.report.step("# vigie close-log"):
            wait_for("a closed log", lambda: "is closed" in self.machine.ask("vigie", "close-log"), 60.0)
        none = (word for option in options[::2] for word in (option, ""))
        self._show(self._command(*install, *none).splitlines()[-3:])
        before = self._count_samples()
        with self.report.step("without the log again, in its session") as note, ledger.publishing():
            wait_for("the samples", lambda: self._count_samples() > before, 60.0)
            note(f"vigie-edge is {self.machine.ask('systemctl', 'is-active', 'vigie-edge')}")

    def _back_up(self) -> None:
        """Set up backups as docs/operations/backups.md describes, run both units, and damage the backup."""
        deploy, settings = self.machine.root / "root/vigie/deploy/server", self.paths.settings / "backup.env"
        self._command("apt-get", "-y", "-q", "--no-install-recommends", "install", "pgbackrest")
        public = self._command("vigie", "backup", "keygen", "--out", "/root/recovery-key").splitlines()[-1]
        name = public.partition("=")[0]
        text = (deploy / "pgbackrest/backup.env").read_text(encoding="utf-8")
        self._command("install", "-m", "640", "-g", "vigie", "/dev/null", "/etc/vigie/backup.env")
        settings.write_text(re.sub(f"^{name}=$", public, text, flags=re.MULTILINE), encoding="utf-8")
        self._command("vigie", "backup", "setup")
        source = "vigie/deploy/server/postgresql/vigie-archive.conf"
        self._command("install", "-m", "644", source, "/etc/postgresql/17/vigie/conf.d/")
        self._command("systemctl", "restart", "postgresql@17-vigie", "vigie-maintain")
        self._command("systemctl", "enable", "--now", "vigie-backup.timer", "vigie-backup-verify.timer")
        for unit in ("vigie-backup", "vigie-backup-verify"):
            self._command("systemctl", "start", unit)
            printed = self.machine.run("journalctl", "--output=cat", "--identifier", unit)
            self._show(printed.splitlines()[-2:])
        self._show(self._command("vigie", "backup", "list").splitlines())
        self._show(
            self._command("vigie", "backup", "unseal", "--recovery-key", "/root/recovery-key").splitlines()
        )
        with self.report.step("one byte changed: vigie-backup-verify fails, and names the file") as note:
            damaged = flip_one_byte(self.machine.root / "var/lib/pgbackrest")
            self.machine.ask("systemctl", "start", "vigie-backup-verify")
            result = self.machine.ask(
                "systemctl", "show", "--property=ExecMainStatus", "--value", "vigie-backup-verify"
            )
            printed = self.machine.run("journalctl", "--output=cat", "--identifier=vigie-backup-verify")
            if result != "1" or f"bundle/{damaged.name}" not in printed:
                raise RehearsalError(f"exit status {result}; {printed[-500:]}")
            note(printed.strip().splitlines()[-1])
            if "vigie-backup-verify failed" not in self.machine.ask("vigie", "doctor"):
                raise RehearsalError("`vigie doctor` does not report it")
            note("`vigie doctor` reports it")
        self._command("vigie", "backup", "--type", "full")
        self._command("systemctl", "start", "vigie-backup-verify")

    def _examine(self) -> None:
        self._show(self._command("vigie", "doctor").splitlines())
        self._show(self._command("vigie", "invite", "ada@example.com").splitlines())
        self._show(self._command("vigie", "secrets", "status").splitlines())

    def _let_caddy_obtain_certificates(self) -> None:
        """Change from certificate files to certificates of Caddy, which has settings of an administrator."""
        main = self.paths.proxy_settings / "Caddyfile"
        main.write_text(f"{{\n\tlocal_certs\n}}\n\n{main.read_text(encoding='utf-8')}", encoding="utf-8")
        self._show(
            self._command("vigie", "install", "--server", "--certificate", "", "--key", "").splitlines()[-3:]
        )
        with self.report.step("# systemctl start vigie-certificate") as note:
            folder = self.paths.proxy_certificates
            wait_for("a certificate of Caddy", lambda: list(folder.glob(f"*/{NAME}/{NAME}.crt")), 30.0)
            self.machine.run("systemctl", "start", "vigie-certificate")
            words = ("openssl", "s_client", "-connect", f"127.0.0.1:{MQTTS}", "-servername", NAME)
            issuer = wait_for(
                "the broker",
                lambda: re.search(r"issuer=.*Caddy Local Authority.*", self.machine.ask(*words)),
                10.0,
            )
            note(issuer[0])

    def _save_journal(self) -> None:
        path = FOLDER / "server-journal.log"
        path.write_text(
            self.machine.ask("journalctl", "--no-pager", "--output=short-precise"), encoding="utf-8"
        )
        self.report.say(f"the machine's journal is in {path}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main() -> int:
    """Run the rehearsal; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("run it as root: it boots a machine\n")
        return 1
    report = RehearsalReport()
    try:
        with report.step("Debian packages"):
            install_packages(_PACKAGES)
        with private_network():
            ServerRehearsal(report).run()
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
