"""Runs a private Mosquitto in any folder, on a free loopback port, with passwords and access rules.

It manages the broker's files, process and accounts, except those of boxes: `app.registry` writes their lines
of the password file. The supervisor restarts it.

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

from app.platform.broker.mosquitto_password_hash import format_password_line
from app.platform.kernel.atomic_files import replace_file_text
from app.standalone import mosquitto_config
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import LOOPBACK, find_free_port
from app.standalone.service_directories import PrivateService, ServiceDirectory, make_folder
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    SystemAccount,
    build_file_limit_command,
    build_run_as_command,
    find_program,
    find_service_account,
)

OLDEST = (2, 0)
_START_TIMEOUT_S = 60.0  # a large store of queued messages is loaded first
# The broker saves its queues on a stop.
_STOP = (StopStep(signal.SIGTERM, 6.0),)
_PORT_TRIES = 5


def find_mosquitto() -> Path | None:
    """Return the path of Mosquitto's program."""
    return find_program("mosquitto", "/usr/sbin", "/usr/local/sbin")


def read_mosquitto_version(path: Path) -> tuple[int, ...]:
    """Return the version that a program reports; empty if it reports none."""
    output = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        [str(path), "-h"], check=False, capture_output=True, text=True, timeout=10
    )
    found = re.search(r"mosquitto version (\d+)\.(\d+)\.(\d+)", output.stdout + output.stderr)
    return tuple(int(part) for part in found.groups()) if found else ()


def can_log_in_to_broker(port: int, username: str, password: str) -> bool:
    """Return whether a broker on this machine accepts an account. Blocks for seconds."""

    async def log_in() -> None:
        async with aiomqtt.Client(
            LOOPBACK,
            port,
            username=username,
            password=password,
            identifier=f"vigie-probe-{os.getpid()}",
            timeout=5,
        ):
            pass

    try:
        asyncio.run(log_in())
    except (aiomqtt.MqttError, OSError):
        return False
    return True


class PrivateMosquitto(PrivateService):
    """A private broker, started and stopped as a context manager or explicitly.

    Args:
        folder: the folder of its files; created if missing, reused otherwise.
        accounts: passwords by username. `mosquitto_config` gives rights to `ingest`, `gateway` and, under
            their own id, boxes. The first account is used to check that the broker answers.
        durable: True refuses a folder that the service's account cannot reach; False uses a temporary one
            then.
        port: the port to listen on; by default the last one if it is free, else any free one.
        log: the log file; `folder/mosquitto.log` by default.
        limits: limits per client; by default sized by the machine's memory.
        environment: additional environment variables of the broker.
        tls: a listener for boxes on other machines; its files are copied at each start.
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
            raise StandaloneError("a broker needs at least one account")
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
        """The lines of all accounts, read again on SIGHUP. At start it has only static ones."""
        return self._home.path / "passwords"

    @property
    def static_password_file(self) -> Path:
        """The lines of `accounts`, which must remain whenever `password_file` is rewritten."""
        return self._home.path / "passwords.static"

    @property
    def pid_file(self) -> Path:
        """The process id of the running broker; missing when it does not run."""
        return self._home.path / "mosquitto.pid"

    async def start(self) -> None:
        """Start the broker and wait until it accepts an account.

        Raises:
            StandaloneError: the program is missing, or the broker does not start; the message ends with its
                log.
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
            # Each connected box is an open file.
            command = build_file_limit_command([str(path), "-c", str(self._home.path / "mosquitto.conf")])
            self.child = await ChildProcess.start(
                build_run_as_command(self._account, command),
                environment=self._environment,
                log=self.log,
                folder=self._home.path,
            )
            if await self._wait_until_ready(self.child):
                replace_file_text(memory, str(self.port))
                self._fixed_port = self.port  # other processes know the port from now on
                # Written by us, not by the broker, since processes send signals to this id.
                replace_file_text(self.pid_file, f"{self.child.pid}\n")
                return
            failure = read_log_tail(self.log)
            # Another program may have taken the port in the meantime.
            if "Address already in use" not in failure:
                break
            last = None
        self.child = None
        raise StandaloneError(f"Mosquitto does not start:\n{failure}")

    async def stop(self, steps: tuple[StopStep, ...] = _STOP) -> None:
        """Stop the broker. It saves sessions and queues, and `start` restores them."""
        self.pid_file.unlink(missing_ok=True)
        if self.child is not None:
            child, self.child = self.child, None
            await child.stop(steps)

    def kill(self) -> None:
        """Kill the broker (SIGKILL), as a crash would; `start` starts it on the same port."""
        if self.child is not None:
            self.child.send(signal.SIGKILL)

    def close(self) -> None:
        """Remove temporary files."""
        self._home.close()

    def _write_files(self) -> None:
        home = self._home.open()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The set-group-id bit lets the broker read files that other processes write here.
        make_folder(home, 0o700 if self._account is None else 0o2750, self._account, group_only=True)
        make_folder(home / "data", 0o700, self._account)
        lines = "".join(
            f"{format_password_line(name, password)}\n" for name, password in self.accounts.items()
        )
        self._write("passwords.static", lines)
        # Lines of boxes are preserved, since boxes may connect before the file is rewritten.
        box_lines = "".join(
            f"{line}\n"
            for line in (self.password_file.read_text().splitlines() if self.password_file.exists() else [])
            if line.partition(":")[0] not in self.accounts
        )
        self._write("passwords", lines + box_lines)
        self._write("acl", mosquitto_config.ACCESS_RULES)
        # Copied, so that the broker's account needs no access to the operator's key file.
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

    async def _wait_until_ready(self, child: ChildProcess) -> bool:
        """Wait until a login succeeds; False if the process ended or the timeout passed."""
        deadline = time.monotonic() + _START_TIMEOUT_S
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
                    # Another broker on the port would refuse the password; check that ours still runs.
                    return child.returncode is None
            except (aiomqtt.MqttError, OSError):
                await asyncio.sleep(0.05)
        await child.stop(_STOP)
        return False
