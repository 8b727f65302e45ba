"""The data directory: what lies where, whose it is, and that only one supervisor works in it.

    .vigie/
      instance        what this stack is called among others (random)
      lock            held while a supervisor runs; its process number is inside
      secrets.json    passwords and the administrator's key (0600)
      encryption-keys what of it the roles seal with (0600)
      run.json        for others, while the stack is ready (0600)
      logs/           one file per child
      services/       PostgreSQL and Mosquitto; where their accounts cannot reach it (a clone under root's
                      home), a link to /var/lib/vigie/<instance>

Prometheus' files of all roles are elsewhere, in memory: /dev/shm/vigie-metrics-…, cleared at each start and
removed at each stop. Figures must not need room on the disk that they tell of.

No permission of a folder that was not made here is changed.

`run.json`: how others reach the running stack. Present exactly while it is ready.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.service_accounts import StandaloneError, SystemAccount, can_reach

SYSTEM_SERVICES_ROOT = Path("/var/lib/vigie")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # the folders in it are named for their owner, and are checked
_METRICS = "vigie-metrics-"
_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths of one data directory."""

    root: Path

    @property
    def instance_file(self) -> Path:
        """Holds the stack's name."""
        return self.root / "instance"

    @property
    def lock_file(self) -> Path:
        """Locked while a supervisor runs."""
        return self.root / "lock"

    @property
    def secrets_file(self) -> Path:
        """Passwords and the administrator's key."""
        return self.root / "secrets.json"

    @property
    def keys_file(self) -> Path:
        """The encryption keys that the roles follow, the first one first."""
        return self.root / "encryption-keys"

    @property
    def run_file(self) -> Path:
        """How to reach the running stack."""
        return self.root / "run.json"

    @property
    def demo_file(self) -> Path:
        """What the demo city says of itself: its sites, its boxes, its key."""
        return self.root / "demo.json"

    @property
    def port_file(self) -> Path:
        """The API's port of the last start with `--port 0`."""
        return self.root / "api-port"

    @property
    def logs(self) -> Path:
        """One log per child."""
        return self.root / "logs"

    @property
    def metrics(self) -> Path:
        """PROMETHEUS_MULTIPROC_DIR of the roles: in memory where the system has such a folder."""
        if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return self.root / "metrics"
        # By the path as well: a copied data directory is another stack.
        name = hashlib.sha256(self.marker().encode()).hexdigest()[:16]
        return SHARED_MEMORY / f"{_METRICS}{os.geteuid()}-{name}"

    @property
    def services(self) -> Path:
        """The services' files, or a link to them."""
        return self.root / "services"

    def instance(self) -> str:
        """The stack's name; empty when it was never started."""
        return self.instance_file.read_text().strip() if self.instance_file.exists() else ""

    def marker(self) -> str:
        """What children carry in their environment. With the path: a copied directory is another stack."""
        return f"{self.instance()}@{os.path.realpath(self.root)}"


def open_data_directory(root: Path) -> DataDirectory:
    """Make the data directory, or take the one that is there.

    Raises:
        EmbeddedError: it is a file, belongs to somebody else, or cannot be written.
    """
    layout = DataDirectory(root.absolute())
    try:
        if not layout.root.exists():
            # Services run by other accounts pass through, without seeing what is inside.
            layout.root.mkdir(parents=True)
            layout.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not layout.instance_file.exists():
            replace_file_text(layout.instance_file, secrets.token_hex(16))
        owner = layout.instance_file.stat().st_uid
        if owner != os.geteuid():
            raise StandaloneError(
                f"{layout.root} belongs to {_user_name(owner)}: start it as that user, "
                "or choose another with --data-dir"
            )
        layout.logs.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StandaloneError(f"the data directory {layout.root} cannot be used: {error.strerror}") from error
    return layout


def _user_name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


@contextlib.contextmanager
def lock_data_directory(layout: DataDirectory) -> Iterator[None]:
    """Hold the data directory.

    The kernel lets go of the lock when the process ends, however it ends. Children do not inherit it.

    Raises:
        EmbeddedError: another supervisor holds it.
    """
    with layout.lock_file.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StandaloneError(
                f"a stack already runs on {layout.root} (supervisor: process {holder}); "
                "stop it first, or start a second one with another --data-dir and --port 0"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def place_services(
    layout: DataDirectory, *accounts: SystemAccount | None, elsewhere: Path = SYSTEM_SERVICES_ROOT
) -> Path:
    """Where the services' files are, reachable by `accounts`; decided once and then kept.

    Raises:
        EmbeddedError: the files are gone, or the directory is a copy of another one.
    """
    others = [account for account in accounts if account is not None]
    link = layout.services
    if link.is_symlink():
        return _follow(layout, link)
    if all(can_reach(account, layout.root) for account in others):
        link.mkdir(exist_ok=True)
        link.chmod(0o711 if others else 0o700)
        return link
    target = elsewhere / layout.instance()
    elsewhere.mkdir(parents=True, exist_ok=True)
    elsewhere.chmod(0o711)
    if link.exists():
        # The clone was moved under a closed folder: its services follow, as long as it is a mere rename.
        try:
            link.rename(target)
        except OSError as error:
            raise StandaloneError(
                f"{others[0].name} can no longer reach {link}, and it cannot be moved to {target} "
                f"({error.strerror}): move {layout.root} back to where it was"
            ) from error
    target.mkdir(exist_ok=True)
    target.chmod(0o711)
    replace_file_text(target / "owner", os.path.realpath(layout.root))
    link.symlink_to(target)
    return target


def _follow(layout: DataDirectory, link: Path) -> Path:
    target = link.readlink()
    if not target.is_dir():
        raise StandaloneError(
            f"{target} is gone, and the database with it: remove {layout.root} to begin anew"
        )
    here = os.path.realpath(layout.root)
    note = target / "owner"
    owner = note.read_text() if note.exists() else here
    if owner != here and DataDirectory(Path(owner)).instance() == layout.instance():
        raise StandaloneError(
            f"{layout.root} is a copy of {owner} without its database: remove {layout.root} to begin anew"
        )
    replace_file_text(note, here)
    return target


def find_stale_services(elsewhere: Path = SYSTEM_SERVICES_ROOT) -> list[Path]:
    """Folders of services whose data directory is gone."""
    if not elsewhere.is_dir():
        return []
    stale = []
    for folder in sorted(elsewhere.iterdir()):
        note = folder / "owner"
        with contextlib.suppress(OSError):
            if note.exists() and DataDirectory(Path(note.read_text())).instance() != folder.name:
                stale.append(folder)
    return stale


def clear_metrics(layout: DataDirectory) -> None:
    """Make the folder of figures, without those of earlier processes.

    Raises:
        EmbeddedError: somebody else's folder has its name, or there is no room for it.
    """
    remove_metrics(layout)
    shutil.rmtree(layout.root / "metrics", ignore_errors=True)  # where releases before 0.2 had them
    for folder in SHARED_MEMORY.glob(f"{_METRICS}{os.geteuid()}-*"):
        # What a supervisor that was killed has left, and whose data directory is gone since.
        with contextlib.suppress(OSError):
            if not (folder / _OWNER).readlink().exists():
                shutil.rmtree(folder, ignore_errors=True)
    folder = layout.metrics
    try:
        folder.mkdir(mode=0o700)
        # A link has room even where no file has.
        (folder / _OWNER).symlink_to(layout.root)
    except OSError as error:
        raise StandaloneError(f"the folder of figures {folder} cannot be made: {error.strerror}") from error


def remove_metrics(layout: DataDirectory) -> None:
    """Remove the folder of figures; nothing happens when it is not there."""
    shutil.rmtree(layout.metrics, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Addresses and credentials that do not change while the stack runs."""

    api: str | None
    admin_key: str
    mqtt_host: str
    mqtt_port: int
    mqtt_username: str
    mqtt_password: str
    database: str


def write_run_file(path: Path, reach: StackAddresses, pids: Mapping[str, int]) -> None:
    """Write the file as a whole (0600): a reader finds it complete or not at all."""
    content = {
        "ready": True,
        "api": reach.api,
        "admin_key": reach.admin_key,
        "mqtt": {
            "host": reach.mqtt_host,
            "port": reach.mqtt_port,
            "username": reach.mqtt_username,
            "password": reach.mqtt_password,
        },
        "database": reach.database,
        "pids": dict(pids),
    }
    replace_file_text(path, json.dumps(content, indent=1) + "\n", mode=0o600)


def remove_run_file(path: Path) -> None:
    """Remove the file; nothing happens when it is not there."""
    path.unlink(missing_ok=True)


def read_demo_key(path: Path) -> str | None:
    """The API key of the demo city; None until the demo has made one."""
    try:
        key = json.loads(path.read_text(encoding="utf-8")).get("key")
    except (OSError, ValueError, AttributeError):
        return None  # not there yet, or being written
    return key if isinstance(key, str) else None
