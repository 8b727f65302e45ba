"""Implements `vigie mcp`: serves the tools over standard input, or over HTTP."""

import ipaddress
from collections.abc import Sequence

from mcp.server.transport_security import TransportSecuritySettings

from app.client.client_errors import UsageError
from app.client.mcp_server.server import KeySource, make_server
from app.client.profiles import Profile


def run_stdio(profile: Profile) -> None:
    """Serve one client over standard input and output, with the key of a profile."""
    make_server(KeySource(profile.url, profile)).run("stdio")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Any other name may lead to a network.
        return False


def run_http(url: str, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Serve any number of clients over streamable HTTP. Each request brings its own key.

    Args:
        url: The address of the API.
        host: The address to listen on.
        port: The port.
        allowed_hosts: Host headers that are accepted besides those of the loopback interface.

    Raises:
        UsageError: It would listen on a network without an allowed host.
    """
    if not _is_loopback(host) and not allowed_hosts:
        raise UsageError(
            f"{host} can be reached from other machines. Name the public host: --allow-host HOST"
        )
    local = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
    security = TransportSecuritySettings(
        allowed_hosts=[*local, *allowed_hosts],
        allowed_origins=[f"http://{each}" for each in local] + [f"https://{each}" for each in allowed_hosts],
    )
    # Without sessions: each request stands for itself, with its own key.
    make_server(KeySource(url, None)).run(
        "streamable-http",
        host=host,
        port=port,
        json_response=True,
        stateless_http=True,
        transport_security=security,
    )
