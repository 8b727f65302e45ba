"""Finds free ports on the loopback interface."""

import random
import socket

from app.standalone.unprivileged_accounts import StandaloneError

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up): no outgoing connection can occupy a remembered port.
_FIRST, _LAST = 20_000, 32_000
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

    Raises:
        OSError: none was found.
    """
    if preferred and is_port_free(preferred):
        return preferred
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311  # spread, not secrecy
        if is_port_free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST}")
