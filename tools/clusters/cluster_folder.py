"""Makes the folder of a cluster, and removes what a cluster that crashed has left behind.

The folder has a lock, which ends with the process, and the name of the network. A folder whose lock is free
belongs to a process that has ended: its namespaces, their processes, its bridge and its files are removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tools.clusters.network_namespaces import find_network_remains, remove_network

_PREFIX: Final = "vigie-cluster-"
_ROOT: Final = Path("/tmp")  # noqa: S108  # the accounts of services must reach it, and mkdtemp makes the folder
_LOCK: Final = "lock"
_NETWORK: Final = "network"


@asynccontextmanager
async def open_cluster_folder(*, keeps: bool, say: Callable[[str], None]) -> AsyncIterator[Path]:
    """Make a folder for the length of a block, after removing those of crashed clusters.

    Args:
        keeps: Whether its files remain afterwards.
        say: Prints a line.
    """
    await remove_crashed_clusters(say)
    folder = _make_folder()
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        if keeps:
            # Without these two, the next start leaves the folder alone.
            (folder / _NETWORK).unlink(missing_ok=True)
            (folder / _LOCK).unlink()
            say(f"The files remain in {folder}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_ROOT))
    folder.chmod(0o711)
    return folder


def note_network(folder: Path, name: str) -> None:
    """Note the network of a cluster, before it is made."""
    (folder / _NETWORK).write_text(name, encoding="utf-8")


async def remove_crashed_clusters(say: Callable[[str], None]) -> None:
    """Remove the namespaces, processes, bridges and files of clusters whose process has ended."""
    for path in sorted(_ROOT.glob(f"{_PREFIX}*/{_LOCK}")):
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            network = path.with_name(_NETWORK)
            if network.exists():
                await remove_network(network.read_text(encoding="utf-8"))
            shutil.rmtree(path.parent, ignore_errors=True)
            say(f"Removed what a crashed cluster had left: {path.parent}")
        finally:
            os.close(lock)


async def find_remains(folder: Path, network: str) -> list[str]:
    """Return what a cluster has left behind: namespaces, links, processes and files."""
    return [*await find_network_remains(network), *_find_files_and_processes(folder)]


def _find_files_and_processes(folder: Path) -> list[str]:
    found = [str(folder)] if folder.exists() else []
    wanted = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            uses = (entry / "cmdline").read_bytes(), bytes((entry / "cwd").readlink())
        except OSError:
            continue
        if any(wanted in text for text in uses):
            found.append(f"process {entry.name}")
    return found
