"""Manages the data directory of `vigie up`: its files, its owner and its lock.

    .vigie/
      instance        random id of this stack
      lock            locked while a supervisor runs; contains its process id
      secrets.json    passwords and the administrator's key (0600)
      encryption-keys the encryption keys for the processes (0600)
      run.json        addresses and credentials of the running stack (0600); exists only while it is ready
      logs/           one file per child
      services/       PostgreSQL and Mosquitto; a link to /var/lib/vigie/<instance> if their accounts cannot
                      reach it (a clone in root's home)

The Prometheus files of all processes are in memory: /dev/shm/vigie-metrics-…, cleared at each start and
removed at each stop. Metrics about a full disk must not need space on it.

Permissions of folders that were not created here are never changed.
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
from app.standalone.unprivileged_accounts import StandaloneError, SystemAccount, can_reach

SYSTEM_SERVICES_ROOT = Path("/var/lib/vigie")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # its folders are named after their owner, and checked
_METRICS = "vigie-metrics-"
_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths of one data directory."""

    root: Path

    @property
    def instance_file(self) -> Path:
        """Contains the id of the stack."""
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
        """The encryption keys that the processes read, the current one first."""
        return self.root / "encryption-keys"

    @property
    def run_file(self) -> Path:
        """Addresses and credentials of the running stack."""
        return self.root / "run.json"

    @property
    def demo_file(self) -> Path:
        """The sites, boxes and API key of the demo city."""
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
        """PROMETHEUS_MULTIPROC_DIR of the processes: in memory if the system has such a folder."""
        if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return self.root / "metrics"
        # The marker includes the path: a copied data directory is another stack.
        name = hashlib.sha256(self.marker().encode()).hexdigest()[:16]
        return SHARED_MEMORY / f"{_METRICS}{os.geteuid()}-{name}"

    @property
    def services(self) -> Path:
        """The services' files, or a link to them."""
        return self.root / "services"

    def instance(self) -> str:
        """Return the id of the stack; empty if it was never started."""
        return self.instance_file.read_text().strip() if self.instance_file.exists() else ""

    def marker(self) -> str:
        """Return the marker in the environment of children. Its path distinguishes copied directories."""
        return f"{self.instance()}@{os.path.realpath(self.root)}"


def open_data_directory(root: Path) -> DataDirectory:
    """Open the data directory, and create it if it is missing.

    Raises:
        StandaloneError: it is a file, belongs to another user, or is not writable.
    """
    layout = DataDirectory(root.absolute())
    try:
        if not layout.root.exists():
            # Services with other accounts may pass through it, but not list it.
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
    """Lock the data directory.

    The kernel releases the lock when the process ends, however it ends. Children do not inherit it.

    Raises:
        StandaloneError: another supervisor has the lock.
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
    """Return the folder of the services' files, which `accounts` can reach. It is chosen once.

    Raises:
        StandaloneError: the files are gone, or the directory is a copy of another one.
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
        # The clone was moved into a closed folder: its services follow if a rename is enough.
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
            f"{target} is gone, and the database with it: remove {layout.root} to start again"
        )
    here = os.path.realpath(layout.root)
    note = target / "owner"
    owner = note.read_text() if note.exists() else here
    if owner != here and DataDirectory(Path(owner)).instance() == layout.instance():
        raise StandaloneError(
            f"{layout.root} is a copy of {owner} without its database: remove {layout.root} to start again"
        )
    replace_file_text(note, here)
    return target


def find_stale_services(elsewhere: Path = SYSTEM_SERVICES_ROOT) -> list[Path]:
    """Find folders of services whose data directory is gone."""
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
    """Create an empty folder for metrics.

    Raises:
        StandaloneError: another user has a folder of that name, or there is no space.
    """
    remove_metrics(layout)
    shutil.rmtree(layout.root / "metrics", ignore_errors=True)  # the folder of releases before 0.2
    for folder in SHARED_MEMORY.glob(f"{_METRICS}{os.geteuid()}-*"):
        # Left behind by a killed supervisor whose data directory is gone.
        with contextlib.suppress(OSError):
            if not (folder / _OWNER).readlink().exists():
                shutil.rmtree(folder, ignore_errors=True)
    folder = layout.metrics
    try:
        folder.mkdir(mode=0o700)
        # A link needs no space on a full disk.
        (folder / _OWNER).symlink_to(layout.root)
    except OSError as error:
        raise StandaloneError(
            f"the folder for metrics {folder} cannot be created: {error.strerror}"
        ) from error


def remove_metrics(layout: DataDirectory) -> None:
    """Remove the folder of metrics, if it exists."""
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


@dataclass(frozen=True, slots=True)
class DemoAccess:
    """How to get into the demo city: its API key, and the sign-in of a person. None: not created yet.

    `password` is None also if the person has chosen another one.
    """

    key: str | None = None
    email: str | None = None
    password: str | None = None


def build_console_url(api: str | None) -> str | None:
    """Build the address of the web console; None without the API."""
    return None if api is None else f"{api}/console"


def write_run_file(
    path: Path, addresses: StackAddresses, pids: Mapping[str, int], demo: DemoAccess | None = None
) -> None:
    """Write the file atomically (0600)."""
    signed = demo is not None and demo.email is not None
    content = {
        "ready": True,
        "api": addresses.api,
        "console": build_console_url(addresses.api),
        "sign_in": {"email": demo.email, "password": demo.password} if demo and signed else None,
        "admin_key": addresses.admin_key,
        "mqtt": {
            "host": addresses.mqtt_host,
            "port": addresses.mqtt_port,
            "username": addresses.mqtt_username,
            "password": addresses.mqtt_password,
        },
        "database": addresses.database,
        "pids": dict(pids),
    }
    replace_file_text(path, json.dumps(content, indent=1) + "\n", mode=0o600)


def remove_run_file(path: Path) -> None:
    """Remove the file, if it exists."""
    path.unlink(missing_ok=True)


def read_demo_access(path: Path) -> DemoAccess:
    """Read the access to the demo city from the demo's state."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        found = {name: state.get(name) for name in ("key", "operator_email", "operator_password")}
        is_changed = bool(state.get("operator_changed"))
    except (OSError, ValueError, AttributeError):
        return DemoAccess()  # missing, or being written
    key, email, password = (value if isinstance(value, str) and value else None for value in found.values())
    return DemoAccess(key, email, None if is_changed else password)
