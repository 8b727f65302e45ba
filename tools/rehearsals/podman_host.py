"""Runs podman and podman-compose in a rehearsal, with settings and storage of their own.

podman needs cgroup 2. Where the machine shows cgroup 1 beside it, all commands run in one mount namespace
that shows cgroup 2 alone. Limits of cgroups cannot be rehearsed there.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.rehearsals.report import RehearsalError, run_command, wait_for

PACKAGES: Final = ("podman", "podman-compose", "nftables", "netavark", "aardvark-dns", "crun", "debootstrap")
"""The Debian packages of the rehearsal."""

_CGROUPS: Final = Path("/sys/fs/cgroup")
# `read` keeps the namespace until the rehearsal closes the pipe, or ends.
_ONLY_CGROUP2: Final = (
    "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && echo ready && read end"
)


@dataclass(slots=True)
class PodmanHost:
    """Runs podman with settings and storage below one folder.

    Attributes:
        home: The folder of its settings and its storage.
    """

    home: Path
    _enter: tuple[str, ...] = ()

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Write podman's settings: storage without overlays, and only limits that this machine allows."""
        self.home.mkdir(parents=True, exist_ok=True)
        files, processes = (
            resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
        )
        (self.home / "containers.conf").write_text(
            "[containers]\npids_limit = 0\n"
            f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
            '[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n',
            encoding="utf-8",
        )
        (self.home / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{self.home}/run"\ngraphroot = "{self.home}/storage"\n',
            encoding="utf-8",
        )
        if (_CGROUPS / "cgroup.controllers").exists():
            yield
            return
        # One namespace for all commands: podman finds the networks of its containers by mounts, and leaves
        # their bridges behind if it does not find them.
        words = ["unshare", "--mount", "sh", "-c", _ONLY_CGROUP2]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:  # noqa: S603 (no shell of others' words)
            if keeper.stdout is None or keeper.stdout.readline() != b"ready\n":
                raise RehearsalError("the machine shows no cgroup 2, which podman needs")
            self._enter = ("nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt")
            yield

    def run(self, *words: str, folder: Path | None = None, timeout_s: float = 900.0) -> str:
        """Run a command, and return what it printed.

        Raises:
            RehearsalError: It failed; the message has its last lines.
        """
        settings = [
            f"CONTAINERS_CONF={self.home}/containers.conf",
            f"CONTAINERS_STORAGE_CONF={self.home}/storage.conf",
        ]
        where = ["--chdir", str(folder)] if folder else []
        return run_command([*self._enter, "env", *where, *settings, *words], timeout_s=timeout_s)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what podman knows of a container."""
        found: list[dict[str, Any]] = json.loads(self.run("podman", "inspect", container))
        return found[0]

    def has_image(self, name: str) -> bool:
        """Return whether an image is stored."""
        try:
            self.run("podman", "image", "exists", name)
        except RehearsalError:
            return False
        return True

    def import_debian(self, name: str, release: str) -> None:
        """Make a base image by debootstrap, so that no foreign image is needed."""
        root = self.home / release
        if not (root / "etc/debian_version").exists():
            # Whose mounts end with it, if it fails too.
            run_command(["unshare", "--mount", "debootstrap", "--variant=minbase", release, str(root)])
        archive = self.home / f"{release}.tar"
        run_command(["tar", "-C", str(root), "-cf", str(archive), "."])
        self.run("podman", "import", str(archive), name)
        archive.unlink()
        shutil.rmtree(root)


def kill_container(host: PodmanHost, container: str) -> None:
    """End the process of a container as a crash would, and wait until podman has started another one.

    Raises:
        RehearsalError: There is none after a minute.
    """
    before = int(host.inspect(container)["State"]["Pid"])
    os.kill(before, signal.SIGKILL)
    wait_for("another process", lambda: int(host.inspect(container)["State"]["Pid"]) not in {0, before})
