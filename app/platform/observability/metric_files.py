"""Reserves the room of a process's shared Prometheus files before the process maps them into memory.

Where `PROMETHEUS_MULTIPROC_DIR` is set, prometheus_client maps files of that folder and makes them sparse: on
a full file system the first write to a new page ends the process with SIGBUS, which nothing can catch. A file
whose room is reserved cannot do that. Import this module before prometheus_client: the library decides at its
own import whether figures are shared.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
# What the library calls its files, by type and by how gauges are combined, with the bytes that are reserved.
# Ingest was seen to use 113 KiB of histograms; the API needs 2.7 KiB for each route that is called.
_RESERVED_BYTES: Final[Mapping[str, int]] = {
    "counter": 2**18,
    "histogram": 2**21,
    "gauge_livesum": 2**16,
    "gauge_mostrecent": 2**16,
}
_USED: Final = struct.Struct("i")


def reserve_metric_files() -> bool:
    """Reserve this process's files, or stop it from sharing its figures where there is no room.

    Returns:
        False if the figures were to be shared and are not: the process then keeps them to itself.
    """
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if folder is None:
        return True
    try:
        for prefix, size in _RESERVED_BYTES.items():
            _reserve(Path(folder) / f"{prefix}_{os.getpid()}.db", size)
    except OSError:
        del os.environ[MULTIPROCESS_VARIABLE]
        return False
    return True


def trim_metric_files(folder: Path, pid: int) -> None:
    """Give back what a process that has ended had reserved and not used; its figures stay.

    Args:
        folder: that of all shared files.
        pid: the number of the process.
    """
    for path in folder.glob(f"*_{pid}.db"):
        with path.open("r+b") as file:
            head = file.read(_USED.size)
            if len(head) == _USED.size:
                file.truncate(max(*_USED.unpack(head), 2 * _USED.size))
            else:
                # The process was killed before it had reserved the file: no reader could open it.
                path.unlink()


def _reserve(path: Path, size: int) -> None:
    """Make a file of zeros that has its room; one of an earlier process of this number keeps its figures."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        # An empty file would be mapped as a sparse one by whoever comes next.
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


METRICS_SHARED: Final = reserve_metric_files()
"""Whether this process's figures are where they were to be."""
