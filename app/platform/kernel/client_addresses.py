"""Addresses: how clients' are counted, and which are this machine's own."""

import ipaddress


def make_address_subject(host: str | None) -> str:
    """By what an address is counted: an IPv6 one by its network of 64 bits, which one customer has."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return f"address:{(host or 'unknown')[:64]}"
    if isinstance(address, ipaddress.IPv6Address):
        # Of one that was mapped, the network would be that of all IPv4.
        if address.ipv4_mapped is not None:
            return f"address:{address.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((address, 64), strict=False)}"
    return f"address:{address}"


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL, in lower case, is a loopback address or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
