"""Finds free ports on the loopback interface."""

import random
import socket
from pathlib import Path

from app.standalone.unprivileged_accounts import StandaloneError

LOOPBACK = "127.0.0.1"
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _LAST = 20_000, 32_000
_FEWEST = 1_000  # Ports in a range that is worth choosing from.
_TRIES = 200


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: ignores connections of a server that has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free_port(port: int, host: str) -> None:
    """Check that the API could listen on `port`.

    Raises:
        StandaloneError: another program uses the port.
    """
    if not is_port_free(port, host):
        raise StandaloneError(
            f"port {port} is taken: choose another with --port N, or any free one with --port 0"
        )


def find_free_port(preferred: int | None = None) -> int:
    """Return a free port on loopback: `preferred` if it is free, else a random one.

    No running process has got the random one from here: its server may not listen yet.

    Raises:
        OSError: none was found.
    """
    if preferred and is_port_free(preferred):
        return preferred
    first, last = choose_range(_EPHEMERAL_RANGE.read_text() if _EPHEMERAL_RANGE.exists() else "32768 60999")
    for _ in range(_TRIES):
        port = random.randint(first, last)  # noqa: S311  # spread, not secrecy
        if is_port_free(port) and _reserve(port):
            return port
    raise OSError(f"no free port between {first} and {last}")


def _reserve(port: int) -> bool:
    """Reserve `port` until this process ends; return whether no process has reserved it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reservation:
        try:
            # An abstract name, which the kernel frees with the descriptor: no file is left behind.
            reservation.bind(f"\0vigie-port-{port}")
        except OSError:
            return False
        reservation.detach()
    return True


def choose_range(ephemeral: str) -> tuple[int, int]:
    """Return the first and the last port to choose from.

    They lie below the ephemeral range where that leaves enough of them: an outgoing connection
    could occupy any port of the ephemeral range before a server listens on it.

    Args:
        ephemeral: The first and the last port of outgoing connections, as Linux writes them.
    """
    last = min(_LAST, int(ephemeral.split(maxsplit=1)[0]) - 1)
    first = _FIRST if last - _FIRST >= _FEWEST else last // 2
    return (first, last) if last - first >= _FEWEST else (_FIRST, _LAST)
