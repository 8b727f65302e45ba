"""Reserves disk space for a process's shared Prometheus files before the process maps them into memory.

Where `PROMETHEUS_MULTIPROC_DIR` is set, prometheus_client maps files of that folder and makes them sparse. On
a full file system the first write to a new page then ends the process with SIGBUS, which cannot be caught.
Reserved space prevents it. Import this module before prometheus_client, which decides at its import whether
metrics are shared.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
# The library's file prefixes, by type and by mode of gauges, with the reserved bytes. Ingest used 113 KiB of
# histograms; the API needs 2.7 KiB per called route.
_RESERVED_BYTES: Final[Mapping[str, int]] = {
    "counter": 2**18,
    "histogram": 2**21,
    "gauge_livemax": 2**16,
    "gauge_livesum": 2**16,
    "gauge_mostrecent": 2**16,
}
_USED: Final = struct.Struct("i")


def reserve_metric_files() -> bool:
    """Reserve this process's files, or stop sharing its metrics where there is no space.

    Returns:
        False if the metrics should be shared and are not: the process then has them in memory only.
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
    """Free the reserved and unused space of a process that has ended; its metrics stay.

    Args:
        folder: the folder of all shared files.
        pid: the process id.
    """
    for path in folder.glob(f"*_{pid}.db"):
        with path.open("r+b") as file:
            head = file.read(_USED.size)
            if len(head) == _USED.size:
                file.truncate(max(*_USED.unpack(head), 2 * _USED.size))
            else:
                # The process was killed before it had reserved the file, which no reader could open.
                path.unlink()


def _reserve(path: Path, size: int) -> None:
    """Create a zeroed file with reserved space; a file of an earlier process with this id stays as it is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        # The next process would map an empty file as a sparse one.
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


METRICS_SHARED: Final = reserve_metric_files()
"""Whether this process's metrics are shared as configured."""
