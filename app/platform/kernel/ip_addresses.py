"""Derives rate-limit keys from client IP addresses, and recognises loopback hosts."""

import ipaddress


def make_address_subject(host: str | None) -> str:
    """Return the rate-limit subject of an address.

    IPv6 addresses count by /64 network, which is what one customer has.
    """
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return f"address:{(host or 'unknown')[:64]}"
    if isinstance(address, ipaddress.IPv6Address):
        # A mapped IPv4 address would share its /64 with all other IPv4 addresses.
        if address.ipv4_mapped is not None:
            return f"address:{address.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((address, 64), strict=False)}"
    return f"address:{address}"


def is_loopback(host: str) -> bool:
    """Return whether the host of a URL, in lower case, is a loopback address or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
