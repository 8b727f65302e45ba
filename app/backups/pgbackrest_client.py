"""Runs pgBackRest's commands, shows their progress, and explains their failures."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.backups.backup_catalogue import BackupEntry, BackupKind, UnreadableRepositoryError, parse_backups
from app.backups.backup_target import BackupError, BackupTarget, DamagedBackupError, ProgressSink
from app.backups.pgbackrest_config import STANZA

_PROGRESS_EVERY_S: Final = 5.0
_DAMAGED_FILE: Final = re.compile(r"INFO: +((?:invalid|missing|file missing)[^']*'[^']+')")
_PERCENT: Final = re.compile(r"\([^()]*?([\d.]+)%\)")
_LABEL: Final = re.compile(r"new backup label = (\S+)")
_LINE: Final = re.compile(r"^(?:[\d-]+ [\d:.]+ )?P\d+\s+(\w+): +(.*)$")
_CONTINUED: Final = " " * 12
_SEVERE: Final = {"ERROR", "WARN", "HINT"}
_LINES_SHOWN: Final = 12
_LOCKED: Final = "unable to acquire lock"
_LOCK_POLL_S: Final = 5.0
_LOCK_WAIT_S: Final = 6 * 3600.0
_OUTPUT_LIMIT: Final = 4 * 2**20  # a line of `info` has all annotations
# Words of pgBackRest's messages about checksums, formats, ciphers, compression and missing files.
_DAMAGED: Final = re.compile(
    r"checksum|unable to decrypt|decrypt|decompress|zst|lz4|cipher|invalid|unable to find|missing|"
    r"unexpected eof|corrupt|FormatError",
    re.IGNORECASE,
)


class PgBackRest:
    """Runs pgBackRest for one cluster.

    Args:
        target: the cluster and its repository.
        report: takes lines of progress.
    """

    def __init__(self, target: BackupTarget, report: ProgressSink) -> None:
        self._target = target
        self._report = report

    async def create_stanza(self) -> None:
        """Create the repository's part for this cluster; does nothing if it exists."""
        await self._run("stanza-create")

    async def check(self) -> None:
        """Archive the current WAL segment, and wait until it is in the repository."""
        await self._run("check")

    async def list_backups(self) -> list[BackupEntry]:
        """List the backups in the repository, the oldest first (BackupError)."""
        output = "\n".join(await self._run("info", "--output=json", quiet=True))
        try:
            return parse_backups(output)
        except UnreadableRepositoryError as error:
            raise BackupError(
                "the repository cannot be read: check VIGIE_BACKUP__PATH, and that "
                f"{self._target.settings.cipher_pass_file} has the passphrase of the repository:\n{error}"
            ) from error

    async def back_up(self, kind: BackupKind) -> str:
        """Make a backup, remove those beyond the retention, and return the backup's label."""
        lines = await self._run("backup", f"--type={kind}", "--log-level-console=detail")
        labels = [found[1] for line in lines if (found := _LABEL.search(line))]
        if not labels:
            raise BackupError(f"pgBackRest did not name the new backup:\n{_format_tail(lines)}")
        return labels[-1]

    async def annotate(self, label: str, notes: Mapping[str, str]) -> None:
        """Add annotations to a backup. Waits while another backup runs, since a verification took long."""
        pairs = [f"--annotation={name}={value}" for name, value in notes.items()]
        until = time.monotonic() + _LOCK_WAIT_S
        said = False
        while True:
            try:
                await self._run("annotate", f"--set={label}", *pairs)
            except BackupError as error:
                if _LOCKED not in str(error) or time.monotonic() > until:
                    raise
            else:
                return
            if not said:
                self._report("annotate: waiting for the end of a backup …")
                said = True
            await asyncio.sleep(_LOCK_POLL_S)

    async def restore(self, folder: Path, *options: str) -> None:
        """Restore files into a folder of PostgreSQL's account.

        Raises:
            DamagedBackupError: a file of the backup is damaged or missing.
        """
        try:
            await self._run("restore", f"--pg1-path={folder}", "--log-level-console=detail", *options)
        except BackupError as error:
            if _DAMAGED.search(str(error)):
                raise DamagedBackupError(f"the backup is damaged: {error}") from error
            raise

    async def explain_damage(self, error: DamagedBackupError) -> DamagedBackupError:
        """Add the damaged files of the repository to an error. It reads the whole repository."""
        self._report("looking for the damaged files in the repository …")
        try:
            lines = await self._run("verify", "--output=text")
        except BackupError as other:
            return DamagedBackupError(f"{error}\nThe damaged files could not be found: {other}")
        found = [matched[1] for line in lines if (matched := _DAMAGED_FILE.search(line))]
        if not found:
            return error
        shown = "".join(f"\n  {each}" for each in found[:_LINES_SHOWN])
        return DamagedBackupError(f"{error}\nDamaged in the repository ({len(found)}):{shown}")

    async def _run(self, command: str, *options: str, quiet: bool = False) -> list[str]:
        target = self._target
        arguments = [
            *target.run_as,
            *("pgbackrest", f"--config={target.config_file}", f"--stanza={STANZA}"),
            *(command, "--log-level-file=off"),
        ]
        if not any(option.startswith("--log-level-console") for option in options):
            arguments.append("--log-level-console=warn" if quiet else "--log-level-console=info")
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                *options,
                env=dict(target.environment),
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=_OUTPUT_LIMIT,
            )
        except FileNotFoundError as error:
            raise BackupError("pgBackRest is missing: apt-get install pgbackrest") from error
        lines = await self._follow(process, command)
        if await process.wait() != 0:
            if any(f"missing file '{target.config_file}'" in line for line in lines):
                raise BackupError(
                    f"backups are not set up: {target.config_file} is missing. Run `vigie backup setup`;"
                    " for `vigie up`, set VIGIE_BACKUP__… and start it again (docs/operations/backups.md)"
                )
            raise BackupError(f"pgbackrest {command} failed:\n{_format_failure(lines)}")
        return lines

    async def _follow(self, process: asyncio.subprocess.Process, command: str) -> list[str]:
        """Collect the output, and report its progress every five seconds."""
        lines: list[str] = []
        said = time.monotonic()
        if process.stdout is None:
            return lines
        try:
            async for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip("\n")
                lines.append(line)
                percent = _PERCENT.search(line)
                if percent and time.monotonic() - said >= _PROGRESS_EVERY_S:
                    said = time.monotonic()
                    self._report(f"{command}: {float(percent[1]):.0f} %")
        except BaseException:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            raise
        return lines


def _format_failure(lines: Sequence[str]) -> str:
    """Return the errors, warnings and hints among the output, else its end."""
    found: list[str] = []
    is_severe = False
    for line in lines:
        matched = _LINE.match(line)
        if matched:
            is_severe = matched[1] in _SEVERE
            if is_severe:
                found.append(f"  {matched[2]}")
        elif is_severe and line.startswith(_CONTINUED):
            found.append(f"  {line.strip()}")
    return "\n".join(found[:_LINES_SHOWN]) or _format_tail(lines)


def _format_tail(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines[-_LINES_SHOWN:])
