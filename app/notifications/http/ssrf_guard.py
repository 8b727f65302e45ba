"""Prevents server-side request forgery (SSRF): checks that URLs and addresses are public.

Pure. No name is resolved. A URL is checked when it is registered and at each attempt; the addresses of its
host are checked when a connection is opened (`app.notifications.http.guarded_resolver`).

Addresses are on an allow list: IPv6 only from the global unicast block, without its reserved parts. So every
IPv6 form with an embedded IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) is refused without parsing
it.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from yarl import URL

from app.platform.kernel.errors import InvalidError

CODE: Final = "webhook_url_not_allowed"
MAX_LENGTH: Final = 2048

type IpAddress = IPv4Address | IPv6Address

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[!-~]+")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_NAME_LIMIT: Final = 253
_SYSTEM_PORTS: Final = 1024
_PORT_LIMIT: Final = 65_535
# Names that by convention are only valid on a machine or in a local network.
_LOCAL_SUFFIXES: Final = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain")

# Cloud metadata services: refused even if private addresses are allowed.
_METADATA: Final = tuple(
    map(ip_address, ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
) + tuple(map(ip_address, ("fd00:ec2::254", "fd20:ce::254")))

_PRIVATE: Final[tuple[tuple[str, IPv4Network | IPv6Network], ...]] = (
    ("loopback", IPv4Network("127.0.0.0/8")),
    ("private", IPv4Network("10.0.0.0/8")),
    ("private", IPv4Network("172.16.0.0/12")),
    ("private", IPv4Network("192.168.0.0/16")),
    ("shared (carrier NAT)", IPv4Network("100.64.0.0/10")),
    ("loopback", IPv6Network("::1/128")),
    ("private (unique local)", IPv6Network("fc00::/7")),
)
_RESERVED_V4: Final = (
    ("this network", IPv4Network("0.0.0.0/8")),
    ("link-local", IPv4Network("169.254.0.0/16")),
    ("reserved for protocols", IPv4Network("192.0.0.0/24")),
    ("for documentation", IPv4Network("192.0.2.0/24")),
    ("AS112", IPv4Network("192.31.196.0/24")),
    ("AMT", IPv4Network("192.52.193.0/24")),
    ("a 6to4 relay", IPv4Network("192.88.99.0/24")),
    ("AS112", IPv4Network("192.175.48.0/24")),
    ("for benchmarks", IPv4Network("198.18.0.0/15")),
    ("for documentation", IPv4Network("198.51.100.0/24")),
    ("for documentation", IPv4Network("203.0.113.0/24")),
    ("multicast", IPv4Network("224.0.0.0/4")),
    ("reserved", IPv4Network("240.0.0.0/4")),
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_RESERVED_V6: Final = (
    ("unspecified", IPv6Network("::/128")),
    ("IPv4-mapped", IPv6Network("::ffff:0:0/96")),
    ("IPv4-translated", IPv6Network("::ffff:0:0:0/96")),
    ("IPv4-compatible", IPv6Network("::/96")),
    ("NAT64", IPv6Network("64:ff9b::/96")),
    ("NAT64", IPv6Network("64:ff9b:1::/48")),
    ("link-local", IPv6Network("fe80::/10")),
    ("site-local", IPv6Network("fec0::/10")),
    ("multicast", IPv6Network("ff00::/8")),
    ("Teredo", IPv6Network("2001::/32")),
    ("reserved for protocols", IPv6Network("2001::/23")),
    ("for documentation", IPv6Network("2001:db8::/32")),
    ("6to4", IPv6Network("2002::/16")),
    ("AS112", IPv6Network("2620:4f:8000::/48")),
    ("for documentation", IPv6Network("3fff::/20")),
)


def find_address_refusal(address: IpAddress, *, allow_private: bool) -> str | None:
    """Return why an address is forbidden; None if it is allowed.

    Args:
        address: The address to connect to; an address with a scope (`fe80::1%eth0`) is always refused.
        allow_private: Allow loopback, private, unique local and shared addresses. All others stay refused:
            link-local, metadata services, multicast, and embedded addresses.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "has a scope"
    if address in _METADATA:
        return "is a cloud metadata service"
    for word, network in _PRIVATE:
        if address in network:
            return None if allow_private else f"is {word}"
    reserved = _RESERVED_V4 if isinstance(address, IPv4Address) else _RESERVED_V6
    for word, network in reserved:
        if address in network:
            return f"is {word}"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return "is not global unicast"
    return None if address.is_global else "is not a public address"


def check_url(text: str, *, allow_private: bool) -> URL:
    """Check a receiver's URL without resolving its name.

    Returns:
        The URL as the HTTP client parses it, with the checked host.

    Raises:
        InvalidError: `webhook_url_not_allowed`; the detail says what to change.
    """
    if len(text) > MAX_LENGTH:
        raise _refused(f"it is longer than {MAX_LENGTH} characters")
    if not _PLAIN.fullmatch(text) or "\\" in text:
        raise _refused(
            "write it in ASCII without spaces or backslashes (names as punycode, paths in percents)"
        )
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in ({"https", "http"} if allow_private else {"https"}):
        raise _refused("it must begin with https://")
    if "#" in text:
        raise _refused("a fragment (#…) is not sent: leave it out")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise _refused("user info (user:password@) is not allowed: receivers verify the signature instead")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _refused("it has no host, or one that cannot be parsed")
    host, port = match.groups()
    _check_port(port, scheme, allow_private=allow_private)
    _check_host(host, allow_private=allow_private)
    try:
        url = URL(text)
    except ValueError:
        raise _refused("it cannot be parsed") from None
    # Two parsers of a URL must not see two hosts.
    if url.raw_host is None or not _same_host(url.raw_host, host):
        raise _refused("its host is ambiguous")
    return url


def _refused(why: str) -> InvalidError:
    return InvalidError(f"This URL cannot receive webhooks: {why}.", code=CODE)


def _same_host(seen: str, written: str) -> bool:
    bare = written.strip("[]").lower()
    if ":" in bare:
        return ip_address(seen) == ip_address(bare)
    return seen.lower() == bare


def _check_port(text: str | None, scheme: str, *, allow_private: bool) -> None:
    if text is None:
        return
    port = int(text)
    if not 0 < port <= _PORT_LIMIT:
        raise _refused(f"there is no port {text}")
    usual = {"https": 443, "http": 80}[scheme]
    # Ports below 1024 belong to other protocols (mail, SSH, …), whose servers must not get HTTP requests.
    if port < _SYSTEM_PORTS and port != usual and not allow_private:
        raise _refused(f"port {port} belongs to another service: use {usual}, or one from {_SYSTEM_PORTS} up")


def _check_host(host: str, *, allow_private: bool) -> None:
    if host.startswith("["):
        try:
            address: IpAddress = IPv6Address(host[1:-1])
        except ValueError:
            raise _refused(f"{host} is not an IPv6 address") from None
        _check_literal(address, allow_private=allow_private)
        return
    if len(host) > _NAME_LIMIT or not _NAME.fullmatch(host):
        raise _refused("its host is not a valid name")
    name = host.rstrip(".").lower()
    # Every resolver takes a name that ends in a number for an IPv4 address, in some spelling.
    if _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        try:
            address = IPv4Address(host)
        except ValueError:
            raise _refused(f"{host[:60]} is an IPv4 address in an unusual spelling") from None
        _check_literal(address, allow_private=allow_private)
        return
    local = "." not in name or any(name == end or name.endswith(f".{end}") for end in _LOCAL_SUFFIXES)
    if local and not allow_private:
        raise _refused(f"{host[:60]} is a name of a local network")


def _check_literal(address: IpAddress, *, allow_private: bool) -> None:
    why = find_address_refusal(address, allow_private=allow_private)
    if why is not None:
        raise _refused(f"{address} {why}")
