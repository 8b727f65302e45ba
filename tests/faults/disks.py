"""Small disks, and what fills them."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIB = 2**20


def _mount(*arguments: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    done = subprocess.run([*sudo, *arguments], check=False, capture_output=True, text=True)  # noqa: S603 (no shell)
    assert done.returncode == 0, f"a small disk needs root, or sudo: {done.stderr}"


@contextmanager
def small_disk(size_mib: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vigie-disk-"))
    folder.chmod(0o755)
    owner = f"uid={os.geteuid()},gid={os.getegid()}"
    _mount("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755,{owner}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _mount("umount", "--lazy", str(folder))
        folder.rmdir()


def fill(disk: Path, name: str = "ballast") -> Path:
    """Take all that is left of a disk, to the last page."""
    ballast = disk / name
    with ballast.open("ab", buffering=0) as file:
        for portion in (_MIB // 16, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(portion))
    return ballast
