"""Boots a fresh Debian 13 with systemd by systemd-nspawn.

The machine and the rehearsal are in a network namespace of their own, which reaches the outside by address
translation. So they use no port of this machine. debootstrap makes the machine's root once, and an archive
caches it. The root gets only the package sources and the trusted certificates of this machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from tools.rehearsals.report import RehearsalError, run_command, wait_for

FOLDER: Final = Path(".vigie/rehearsals").absolute()
_ARCHIVE: Final = FOLDER / "debian-13.tar"
_PACKAGES: Final = "systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps,make,git"
# systemd needs a unified hierarchy of control groups; a machine with both kinds shows only that one to it.
_BOOT: Final = """
set -e
if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi
exec systemd-nspawn --quiet --directory="$1" --boot --register=no --keep-unit --console=pipe --hostname="$2"
"""


_NETWORK: Final = "vigie-rehearsal"
_OUTSIDE: Final = ("10.213.84.1", "10.213.84.2")
_LINK: Final = "vigie-out"


@contextlib.contextmanager
def private_network() -> Iterator[None]:
    """Run this thread and its children in a network namespace of their own for the length of a block."""
    outer, inner = _OUTSIDE
    _remove_network()
    within = ("ip", "-n", _NETWORK)
    former = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        for words in (
            ("ip", "netns", "add", _NETWORK),
            ("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", _NETWORK),
            ("ip", "addr", "add", f"{outer}/30", "dev", _LINK),
            ("ip", "link", "set", _LINK, "up"),
            (*within, "addr", "add", f"{inner}/30", "dev", "eth0"),
            (*within, "link", "set", "eth0", "up"),
            (*within, "link", "set", "lo", "up"),
            (*within, "route", "add", "default", "via", outer),
            ("sysctl", "-q", "-w", "net.ipv4.ip_forward=1"),
        ):
            run_command(words)
        rules = f"""
        table ip vigie_rehearsal {{
            chain out {{ type nat hook postrouting priority srcnat; ip saddr {inner} masquerade; }}
        }}
        """
        run_command(["nft", "-f", "-"], text=rules)
        with Path(f"/run/netns/{_NETWORK}").open("rb") as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)
        yield
    finally:
        os.setns(former, os.CLONE_NEWNET)
        os.close(former)
        _remove_network()


def _remove_network() -> None:
    for words in (
        ("nft", "delete", "table", "ip", "vigie_rehearsal"),
        ("ip", "link", "delete", _LINK),
        ("ip", "netns", "delete", _NETWORK),
    ):
        with contextlib.suppress(RehearsalError):
            run_command(words)


def build_base_archive(suite: str = "trixie") -> Path:
    """Return an archive of a minimal Debian, and make it if there is none."""
    if _ARCHIVE.exists():
        return _ARCHIVE
    FOLDER.mkdir(parents=True, exist_ok=True)
    root = FOLDER / "base.new"
    shutil.rmtree(root, ignore_errors=True)
    source = _find_package_source()
    # In a mount namespace of its own: debootstrap leaves /proc and /sys mounted below its root if it fails.
    words = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={_PACKAGES}"]
    run_command([*words, suite, str(root), source])
    fresh = _ARCHIVE.with_suffix(".new")
    run_command(["tar", "--create", f"--file={fresh}", "--numeric-owner", f"--directory={root}", "."])
    fresh.rename(_ARCHIVE)
    shutil.rmtree(root)
    return _ARCHIVE


def _find_package_source() -> str:
    """Return the first package source of this machine."""
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    raise RehearsalError("no package source in /etc/apt/sources.list.d: the machine would have none")


class DebianMachine:
    """Boots a machine of this name, whose root is below `.vigie/rehearsals/`, and runs commands in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = FOLDER / name
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def unpack(self) -> None:
        """Make a fresh root from the base, with the sources and certificates of this machine."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        run_command(
            [
                "tar",
                "--extract",
                f"--file={build_base_archive()}",
                "--numeric-owner",
                f"--directory={self.root}",
            ]
        )
        for folder in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d"):
            shutil.copytree(Path("/") / folder, self.root / folder, dirs_exist_ok=True)
        (self.root / "etc/apt/sources.list").unlink(missing_ok=True)
        bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        shutil.copyfile(bundle, self.root / "etc/ssl/certs/ca-certificates.crt")

    def copy_clone(self, target: str = "root/vigie") -> None:
        """Copy the committed state of this clone into the machine."""
        run_command(["git", "clone", "--quiet", "--no-hardlinks", ".", str(self.root / target)])

    def boot(self) -> str:
        """Boot, and return systemd's state: `running` if all units of Debian work."""
        log = FOLDER / f"{self.name}.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603 (no shell; the words are ours)
                ["unshare", "--mount", "sh", "-c", _BOOT, "boot", str(self.root), self.name],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self._leader = wait_for(f"init of {self.name} (see {log})", self._find_leader, 30.0)
        return wait_for("boot", self._find_state, 90.0)

    def _find_leader(self) -> int | None:
        if self._process is None or self._process.poll() is not None:
            raise RehearsalError(f"systemd-nspawn ended: see {FOLDER / self.name}.log")
        try:
            children = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return None
        return next((child.pid for child in children if child.name() == "systemd"), None)

    def _find_state(self) -> str | None:
        state = self.ask("systemctl", "is-system-running")
        return state if state in {"running", "degraded"} else None

    def _enter(self, words: tuple[str, ...]) -> list[str]:
        clean = (
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        )
        return ["nsenter", f"--target={self._leader}", "--all", "--wdns=/root", "--", *clean, *words]

    def run(self, *words: str, timeout_s: float = 600.0, text: str | None = None) -> str:
        """Run a command in the machine as root (RehearsalError if it fails)."""
        return run_command(self._enter(words), timeout_s=timeout_s, text=text)

    def ask(self, *words: str) -> str:
        """Run a command in the machine that may fail, and return what it printed."""
        done = subprocess.run(  # noqa: S603 (as above)
            self._enter(words), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    def stop(self) -> None:
        """Shut the machine down; kills it if that takes too long."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.ask("systemctl", "poweroff", "--no-wall")
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self._leader, signal.SIGKILL)
                self._process.wait(10)
        self._process = None
