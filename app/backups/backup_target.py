"""Describes the cluster that is backed up, and runs programs under its operating system account."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from app.backups.settings import BackupSettings

SUPERUSER: Final = "postgres"

type ProgressSink = Callable[[str], None]
"""Takes one line of progress for people."""


class BackupError(Exception):
    """A backup, restore or verification cannot be done, or failed. The message says what to do."""


class NotDueError(BackupError):
    """This host has nothing to back up now: it is a standby, or a backup was made lately.

    Commands of timers then end with success.
    """


class DamagedBackupError(BackupError):
    """A restored backup differs from the original, or cannot be restored. The message names the damage."""


class TargetNotReachedError(DamagedBackupError):
    """The archive ends before the point to which it should be recovered.

    Attributes:
        last_transaction: the time of the last transaction in the archive, as PostgreSQL's log has it.
    """

    def __init__(self, message: str, last_transaction: str) -> None:
        super().__init__(message)
        self.last_transaction = last_transaction


@dataclass(frozen=True, slots=True)
class BackupTarget:
    """A cluster, its repository, and the account that may read both.

    Attributes:
        settings: the settings of backups.
        cluster_dir: PostgreSQL's data directory.
        config_file: pgBackRest's configuration.
        scratch_dir: the folder for copies that are restored to be verified.
        binaries: the folder of PostgreSQL's programs.
        run_as: the beginning of a command line that changes to PostgreSQL's account; empty: this process
            has it.
        owner: user and group id of that account; None: this process has it.
        host: the folder of the socket, or the address, of the cluster.
        port: its port.
        password: the superuser's password; None: the socket authenticates the account (peer).
    """

    settings: BackupSettings
    cluster_dir: Path
    config_file: Path
    scratch_dir: Path
    binaries: Path
    host: str
    port: int
    run_as: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address of the database for the superuser."""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}"
        return (
            f"postgresql://{SUPERUSER}{secret}@/{quote(self.settings.database)}"
            f"?host={quote(self.host, safe='/')}&port={self.port}"
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of pgBackRest, which connects by libpq."""
        # Not in the configuration: the port of `vigie up` may change at each start.
        own = {"PGHOST": self.host, "PGBACKREST_PG1_PORT": str(self.port or 5432)}
        if self.password is not None:
            own["PGPASSWORD"] = self.password
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"} | own

    @contextmanager
    def acting_as_owner(self) -> Iterator[None]:
        """Run a block as PostgreSQL's account, which the socket authenticates (peer)."""
        if self.owner is None or self.password is not None:
            yield
            return
        uid, gid = self.owner
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def make_folder(self, folder: Path) -> Path:
        """Create a folder that only PostgreSQL's account may read (BackupError)."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.set_owner(folder)
            folder.chmod(0o700)
        except OSError as error:
            raise BackupError(f"the folder {folder} cannot be made: {error.strerror}") from error
        return folder

    def set_owner(self, path: Path) -> None:
        """Make PostgreSQL's account the owner of a file or folder (OSError)."""
        if self.owner is not None:
            os.chown(path, *self.owner)
