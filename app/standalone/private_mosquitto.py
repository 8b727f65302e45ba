"""A private Mosquitto, in any folder, on a free loopback port, with passwords and access rules.

Owns the broker's files, the accounts that are not boxes', and its process. The boxes' lines in the
password file are written by the room that owns boxes. Restarting is the supervisor's.

    async with PrivateMosquitto(folder, accounts={"ingest": "…", "gateway": "…"}) as mq:
        aiomqtt.Client(mq.host, mq.port, username="gateway", password="…")
"""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import aiomqtt
import psutil

from app.platform.broker.mosquitto_hash import format_password_line
from app.platform.kernel.atomic_files import replace_file_text
from app.standalone import mosquitto_config
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import LOOPBACK, find_free_port
from app.standalone.service_accounts import (
    StandaloneError,
    SystemAccount,
    build_file_limit_command,
    build_run_as_command,
    find_program,
    find_service_account,
)
from app.standalone.service_directories import PrivateService, ServiceDirectory, make_folder

OLDEST = (2, 0)
_START_PATIENCE_S = 60.0  # a large store of queued messages is read first
# Written to disk on a stop: everything that is queued.
_STOP = (StopStep(signal.SIGTERM, 6.0),)
_PORT_TRIES = 5


def find_mosquitto() -> Path | None:
    """Where Mosquitto's program is."""
    return find_program("mosquitto", "/usr/sbin", "/usr/local/sbin")


def read_mosquitto_version(path: Path) -> tuple[int, ...]:
    """The version that a program tells of itself; empty when it tells none."""
    told = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        [str(path), "-h"], check=False, capture_output=True, text=True, timeout=10
    )
    found = re.search(r"mosquitto version (\d+)\.(\d+)\.(\d+)", told.stdout + told.stderr)
    return tuple(int(part) for part in found.groups()) if found else ()


class PrivateMosquitto(PrivateService):
    """A broker of its own, started and stopped as a context manager or by hand.

    Args:
        folder: where everything of it lives; made if missing, found again if not.
        accounts: passwords by username; rights are given to `ingest`, to `gateway` and, under their own
            id, to boxes (see `mosquitto_config`). One of them is used to see that the broker answers.
        durable: True refuses a folder that the service's account cannot reach; False serves it from a
            temporary one.
        port: the port to listen on; by default a free one, the last one used where it is still free.
        log: the log file; `folder/mosquitto.log` by default.
        limits: what is held for one client; by default sized by the machine's memory.
        environment: added to the broker's environment.
        tls: a listener for boxes elsewhere; its files are copied at each start.
    """

    title = "Mosquitto"
    host = LOOPBACK

    def __init__(
        self,
        folder: Path,
        *,
        accounts: Mapping[str, str],
        durable: bool = False,
        port: int | None = None,
        log: Path | None = None,
        limits: mosquitto_config.BrokerLimits | None = None,
        environment: Mapping[str, str] | None = None,
        tls: mosquitto_config.TlsListener | None = None,
    ) -> None:
        if not accounts:
            raise StandaloneError("a broker without accounts would serve nobody")
        self.folder = folder.absolute()
        self.log = (log or self.folder / "mosquitto.log").absolute()
        self.port = port or 0
        self.accounts = dict(accounts)
        self._fixed_port = port
        self._tls = tls
        self._limits = limits or mosquitto_config.choose_broker_limits(psutil.virtual_memory().total)
        self._account: SystemAccount | None = find_service_account("mosquitto", "nobody")
        self._home = ServiceDirectory(self.folder, self._account, durable=durable)
        self._environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(environment or {})}

    @property
    def password_file(self) -> Path:
        """Every account's line; read again on SIGHUP. At start only the static ones are in it."""
        return self._home.path / "passwords"

    @property
    def static_password_file(self) -> Path:
        """The lines of `accounts`, to be kept whenever `password_file` is written anew."""
        return self._home.path / "passwords.static"

    @property
    def pid_file(self) -> Path:
        """Holds the process number of the running broker; gone when it does not run."""
        return self._home.path / "mosquitto.pid"

    async def start(self) -> None:
        """Start the broker and wait until it accepts an account.

        Raises:
            EmbeddedError: the program is missing, or the broker does not start; the text ends with its log.
        """
        path = find_mosquitto()
        if path is None:
            raise StandaloneError("Mosquitto is missing: apt-get install mosquitto")
        self._write_files()
        memory = self._home.path / "port"
        last = int(memory.read_text()) if memory.exists() else None
        failure = ""
        for _ in range(_PORT_TRIES):
            self.port = self._fixed_port or find_free_port(last)
            text = mosquitto_config.render_mosquitto_config(
                port=self.port, home=self._home.path, limits=self._limits, tls=self._tls
            )
            self._write("mosquitto.conf", text)
            # Each box that is connected is an open file.
            command = build_file_limit_command([str(path), "-c", str(self._home.path / "mosquitto.conf")])
            self.child = await ChildProcess.start(
                build_run_as_command(self._account, command),
                environment=self._environment,
                log=self.log,
                folder=self._home.path,
            )
            if await self._answers(self.child):
                replace_file_text(memory, str(self.port))
                self._fixed_port = self.port  # others have been told by now
                # Written by us, not by the broker: whoever sends a signal to this number trusts it.
                replace_file_text(self.pid_file, f"{self.child.pid}\n")
                return
            failure = read_log_tail(self.log)
            # Somebody may have taken the port between our look and the broker's.
            if "Address already in use" not in failure:
                break
            last = None
        self.child = None
        raise StandaloneError(f"Mosquitto does not start:\n{failure}")

    async def stop(self, steps: tuple[StopStep, ...] = _STOP) -> None:
        """Stop the broker; sessions and queues are written to disk and found again by `start`."""
        self.pid_file.unlink(missing_ok=True)
        if self.child is not None:
            child, self.child = self.child, None
            await child.stop(steps)

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would; `start` starts it again, on the same port."""
        if self.child is not None:
            self.child.send(signal.SIGKILL)

    def close(self) -> None:
        """Remove what is temporary."""
        self._home.close()

    def _write_files(self) -> None:
        home = self._home.open()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The set-group-id bit hands the group on to files that others write here: the broker must read them.
        make_folder(home, 0o700 if self._account is None else 0o2750, self._account, group_only=True)
        make_folder(home / "data", 0o700, self._account)
        lines = "".join(
            f"{format_password_line(name, password)}\n" for name, password in self.accounts.items()
        )
        self._write("passwords.static", lines)
        # Boxes that are already in the file keep their lines: they may connect before it is written anew.
        kept = "".join(
            f"{line}\n"
            for line in (self.password_file.read_text().splitlines() if self.password_file.exists() else [])
            if line.partition(":")[0] not in self.accounts
        )
        self._write("passwords", lines + kept)
        self._write("acl", mosquitto_config.ACCESS_RULES)
        # Copied: the broker's account need not be able to read a key where the operator keeps it.
        for name, path in (self._tls.files() if self._tls is not None else {}).items():
            try:
                self._write(name, path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise StandaloneError(
                    f"{path} cannot be read, which the TLS listener needs: {error}"
                ) from error

    def _write(self, name: str, text: str) -> None:
        path = self._home.path / name
        replace_file_text(path, text, mode=0o600 if self._account is None else 0o640)
        if self._account is not None:
            os.chown(path, 0, self._account.gid)

    async def _answers(self, child: ChildProcess) -> bool:
        """Wait until a login succeeds; False when the process ended or the patience did."""
        deadline = time.monotonic() + _START_PATIENCE_S
        username, password = next(iter(self.accounts.items()))
        while child.returncode is None and time.monotonic() < deadline:
            try:
                async with aiomqtt.Client(
                    self.host,
                    self.port,
                    username=username,
                    password=password,
                    identifier=f"vigie-probe-{os.getpid()}",
                    timeout=5,
                ):
                    # Another's broker would have refused the password; the check is of our own process.
                    return child.returncode is None
            except (aiomqtt.MqttError, OSError):
                await asyncio.sleep(0.05)
        await child.stop(_STOP)
        return False
