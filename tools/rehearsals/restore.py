"""Rehearses the loss of the database: `make rehearse-restore`.

A stack of `vigie up` runs under load: boxes with `ack`, a rule that fires, a webhook. It is backed up, loaded
further, and lost: all of its processes are killed, and its files removed. Only the repository, its passphrase
and the recovery key remain. A new stack is restored to a moment, and compared with the ledger of acknowledged
samples. Then one byte of a backup is changed: its verification must fail.

All of it runs on 127.0.0.1, in a new folder in /tmp.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import psutil

from simulators.target_stack import TargetStack
from simulators.webhook_receiver import WebhookReceiver
from tools.rehearsals.acknowledged_load import AcknowledgedLoad
from tools.rehearsals.report import RehearsalError, RehearsalReport, run_command

_BOXES: Final = 25
_PER_S: Final = 250.0
_LOAD_S: Final = 10.0
_READY_S: Final = 120.0
_ARCHIVE_S: Final = 90.0
_BUNDLE_S: Final = 60.0
_DELIVERY_TRIES: Final = 300  # a tenth of a second each
_DAMAGED: Final = 1
_TEST: Final = "webhook.test"
_RULE: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
_SITE: Final = {
    "name": "Rehearsal street",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6045]},
}


class RehearsedStack:
    """A stack of `vigie up` in the rehearsal's folder, and its backups.

    Args:
        folder: the rehearsal's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recovery_key = folder / "recovery-key"
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def repository(self) -> Path:
        """The repository of the backups."""
        return self.folder / "repository"

    def vigie(self, *words: str, expect: int = 0) -> str:
        """Run a command of Vigie.

        Raises:
            RehearsalError: its exit status is another one.
        """
        done = subprocess.run(  # noqa: S603 (no shell, and the words are the rehearsal's)
            [sys.executable, "-P", "-m", "app", *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != expect:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise RehearsalError(f"vigie {' '.join(words)} exited with {done.returncode}:\n{tail}")
        return done.stdout or done.stderr

    def set_up(self) -> None:
        """Make the recovery key, and the settings of backups."""
        public = self.vigie("backup", "keygen", "--out", str(self.recovery_key))
        self.environment = {
            "VIGIE_BACKUP__RECOVERY_KEY": public.partition("VIGIE_BACKUP__RECOVERY_KEY=")[2].strip(),
            "VIGIE_BACKUP__PATH": str(self.repository),
            "VIGIE_BACKUP__CIPHER_PASS_FILE": str(self.folder / "passphrase"),
            "VIGIE_BACKUP__SCRATCH_DIR": str(self.folder),
        }

    def start(self, data_dir: Path) -> None:
        """Start `vigie up`, and wait until it is ready (RehearsalError)."""
        with (self.folder / f"{data_dir.name}.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (likewise)
                [
                    *(sys.executable, "-P", "-m", "app", "up"),
                    *("--no-demo", "--port", "0", "--data-dir", str(data_dir)),
                ],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _READY_S
        while not (data_dir / "run.json").exists():
            if self._process.poll() is not None or time.monotonic() > until:
                output = (self.folder / f"{data_dir.name}.log").read_text()
                tail = "\n".join(output.splitlines()[-15:])
                raise RehearsalError(f"vigie up is not ready:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the stack, if it runs."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def lose(self, data_dir: Path) -> int:
        """Kill all processes of the stack (SIGKILL), and remove its files; returns how many there were."""
        if self._process is None:
            return 0
        supervisor = psutil.Process(self._process.pid)
        # The supervisor first: it would restart the others.
        family = [supervisor, *supervisor.children(recursive=True)]
        for each in family:
            each.kill()
        psutil.wait_procs(family, timeout=10)
        self._process.wait()
        self._process = None
        services = Path(os.path.realpath(data_dir / "services"))
        for path in (services, data_dir):
            shutil.rmtree(path, ignore_errors=True)
        return len(family)


async def create_fleet(api: httpx.AsyncClient, receiver: WebhookReceiver) -> dict[str, Any]:
    """Create an organisation with a site, boxes, a rule and a webhook; returns the webhook."""

    async def post(path: str, body: Mapping[str, object]) -> dict[str, Any]:
        answer = await api.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    organisation = (await post("/v1/organisations", {"name": "Rehearsal"}))["id"]
    key = await post("/v1/api-keys", {"organisation_id": organisation, "name": "rehearsal", "scopes": ["*"]})
    api.headers["Authorization"] = f"Bearer {key['key']}"
    site = (await post("/v1/sites", _SITE))["id"]
    boxes = [{"id": f"drill-{number:02}", "site_id": site, "ack": True} for number in range(_BOXES)]
    await post("/v1/boxes/bulk", {"boxes": boxes})
    await post("/v1/rules", {"site_id": site, "name": "Dust", "severity": "warning", "condition": _RULE})
    webhook = await post("/v1/webhooks", {"url": receiver.url})
    receiver.use_secret(webhook["secret"])
    return webhook


async def wait_for_archive(database_url: str, moment: datetime) -> None:
    """Wait until the WAL archive reaches beyond a moment (RehearsalError)."""
    until = time.monotonic() + _ARCHIVE_S
    connection = await asyncpg.connect(database_url)
    try:
        # The segment that is being written at the moment, or a later one.
        segment = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
        while time.monotonic() < until:
            archived = await connection.fetchval("SELECT last_archived_wal FROM pg_stat_archiver")
            if archived is not None and archived >= segment:
                return
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
    raise RehearsalError(f"the WAL of {moment} is not archived after {_ARCHIVE_S:g} s")


async def wait_for_bundle(database_url: str) -> None:
    """Wait until `maintain` has sealed the encryption keys (RehearsalError)."""
    connection = await asyncpg.connect(database_url)
    try:
        until = time.monotonic() + _BUNDLE_S
        while time.monotonic() < until:
            if await connection.fetchval("SELECT count(*) FROM recovery_bundles"):
                return
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
    raise RehearsalError("`maintain` did not seal the recovery bundle")


def flip_one_byte(repository: Path) -> Path:
    """Change one byte in the middle of the repository's largest file of a backup; returns the file."""
    file = max((repository / "backup").glob("vigie/*F/bundle/*"), key=lambda each: each.stat().st_size)
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        byte = content.read(1)
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([byte[0] ^ 1]))
    return file


@asynccontextmanager
async def calling(run_file: Path) -> AsyncIterator[tuple[TargetStack, httpx.AsyncClient]]:
    """Open a client with the key of the administrator."""
    stack = TargetStack.from_run_file(run_file)
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with httpx.AsyncClient(base_url=stack.api, headers=headers, timeout=30) as api:
        yield stack, api


async def load_and_lose(
    stack: RehearsedStack, data_dir: Path, receiver: WebhookReceiver, report: RehearsalReport
) -> tuple[AcknowledgedLoad, datetime, dict[str, Any]]:
    """Run the load, back up under it, note the moment, and lose the stack."""
    async with calling(data_dir / "run.json") as (target, api):
        webhook = await create_fleet(api, receiver)
        await wait_for_bundle(str(target.database))
        load = AcknowledgedLoad(target.broker, [f"drill-{number:02}" for number in range(_BOXES)], _PER_S)
        async with load.running():
            await asyncio.sleep(_LOAD_S / 2)
            with report.step("vigie backup --type full, under load") as note:
                words = ("backup", "--type", "full", "--data-dir", str(data_dir))
                output = await asyncio.to_thread(stack.vigie, *words)
                note(output.strip().splitlines()[-1])
            await asyncio.sleep(_LOAD_S)
            moment = datetime.now(UTC)
            report.say(f"the moment: {moment.isoformat()}")
            await asyncio.sleep(_LOAD_S / 2)
            with report.step("the archive reaches beyond the moment") as note:
                await wait_for_archive(str(target.database), moment)
                note("a disk lost before would have cost the moment's samples")
        report.say(f"{len(load.sent)} samples sent, {len(load.acked)} acknowledged")
        report.say(f"webhooks: {receiver.counts.verified} verified, {receiver.counts.refused} refused")
    with report.step("the machine is lost: kill -9, and all files removed") as note:
        note(f"{stack.lose(data_dir)} processes")
    return load, moment, webhook


async def compare(run_file: Path, load: AcknowledgedLoad, moment: datetime, report: RehearsalReport) -> None:
    """Compare the restored database with the ledger (RehearsalError)."""
    database = TargetStack.from_run_file(run_file).database
    with report.step("ledger of acknowledged samples") as note:
        found = await load.compare(str(database), moment)
        note(str(found))
        if found.missing or found.present or found.unknown or not found.acknowledged_before:
            raise RehearsalError(str(found))


async def send_test_webhook(run_file: Path, webhook: str, receiver: WebhookReceiver) -> int:
    """Send a test webhook from the restored stack; returns how many came with a valid signature."""
    before = receiver.counts.by_type[_TEST]
    async with calling(run_file) as (_, api):
        (await api.post(f"/v1/webhooks/{webhook}/test")).raise_for_status()
    for _ in range(_DELIVERY_TRIES):
        if receiver.counts.by_type[_TEST] > before:
            break
        await asyncio.sleep(0.1)
    if receiver.counts.by_type[_TEST] == before:
        raise RehearsalError("the receiver got no message with a valid signature")
    return receiver.counts.by_type[_TEST]


async def rehearse(folder: Path, report: RehearsalReport) -> None:
    """Run all steps (RehearsalError)."""
    stack = RehearsedStack(folder)
    lost, restored = folder / "lost", folder / "restored"
    async with WebhookReceiver(print_line=lambda _: None) as receiver:
        try:
            with report.step("vigie backup keygen; vigie up"):
                stack.set_up()
                await asyncio.to_thread(stack.start, lost)
            load, moment, webhook = await load_and_lose(stack, lost, receiver, report)
            began = time.monotonic()
            with report.step(f"vigie restore --to {moment.isoformat()} --take-over") as note:
                output = stack.vigie(
                    *("restore", "--to", moment.isoformat(), "--data-dir", str(restored), "--take-over"),
                    *("--recovery-key", str(stack.recovery_key)),
                )
                note(" ".join(output.strip().splitlines()[1:3]))
            with report.step("vigie up on the restored stack") as note:
                await asyncio.to_thread(stack.start, restored)
                note(f"ready {time.monotonic() - began:.1f} s after the restore began")
            await compare(restored / "run.json", load, moment, report)
            await examine(stack, restored, webhook, receiver, report)
        finally:
            stack.stop()


async def examine(
    stack: RehearsedStack,
    data_dir: Path,
    webhook: dict[str, Any],
    receiver: WebhookReceiver,
    report: RehearsalReport,
) -> None:
    """Check the audit log, the secrets and new backups of the restored stack, and damage a backup."""
    data = ("--data-dir", str(data_dir))
    with report.step("vigie audit verify") as note:
        note((await asyncio.to_thread(stack.vigie, "audit", "verify", *data)).splitlines()[0])
    with report.step("a webhook signed with the restored secret") as note:
        await send_test_webhook(data_dir / "run.json", webhook["id"], receiver)
        note(f"{receiver.counts.refused} with a wrong signature, {receiver.counts.duplicates} sent twice")
    with report.step("vigie backup, on the new timeline") as note:
        note((await asyncio.to_thread(stack.vigie, "backup", *data)).strip().splitlines()[-1])
    with report.step("vigie backup verify --recovery-key FILE") as note:
        key = ("--recovery-key", str(stack.recovery_key))
        note((await asyncio.to_thread(stack.vigie, "backup", "verify", *data, *key)).strip().splitlines()[-1])
    labels = [each["label"] for each in json.loads(stack.vigie("backup", "list", "--json", *data))]
    with report.step("one byte of the full backup changed; vigie backup verify has to fail") as note:
        file = flip_one_byte(stack.repository)
        words = ("backup", "verify", "--set", labels[0], *data)
        output = await asyncio.to_thread(lambda: stack.vigie(*words, expect=_DAMAGED))
        name = f"{labels[0]}/bundle/{file.name}"
        if name not in output:
            raise RehearsalError(f"the message does not name {name}:\n{output}")
        note(f"exit {_DAMAGED}, names {name}")


def main() -> int:
    """Run the rehearsal in a new folder; the exit status is 1 if a step failed."""
    report = RehearsalReport()
    report.say(run_command(["pgbackrest", "version"]).strip())
    folder = Path(tempfile.mkdtemp(prefix="vigie-rehearsal-"))
    folder.chmod(0o711)
    try:
        asyncio.run(rehearse(folder, report))
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
