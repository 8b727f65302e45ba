"""Validates and normalises e-mail addresses.

Pure. It queries no name server and does not check that a mailbox exists. It accepts the part of RFC 5321 that
is in use: no quoted names, no comments, no address literals in brackets. So an address can neither end an
SMTP header or command nor begin another one.
"""

import re
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Final

from app.platform.kernel.errors import InvalidError

MAX_ADDRESS_LENGTH: Final = 254
"""Longest address, in characters (RFC 5321)."""

_MAX_LOCAL: Final = 64
_SHOWN_LIMIT: Final = 80
# All that RFC 5322 allows, without characters that servers read as a route (`%`, `!`) or a command (`|`).
_ATOM: Final = r"[A-Za-z0-9#$&'*+/=?^_`{}~-]+"
_ENCODED: Final = "=?"  # begins an encoded word (RFC 2047), which programs would show as something else
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def normalise_email_address(address: str) -> str:
    """Return an address with its domain in lower case.

    Raises:
        InvalidError: `invalid_email_address`. The detail says what is wrong.
    """
    local, at, domain = address.rpartition("@")
    if not at or len(address) > MAX_ADDRESS_LENGTH or len(local) > _MAX_LOCAL:
        raise make_invalid_address_error(address, "an address is name@example.com, of at most 254 characters")
    if not address.isascii():
        raise make_invalid_address_error(address, "write it in ASCII, the domain as punycode (xn--…)")
    if not _LOCAL.fullmatch(local) or _ENCODED in local:
        raise make_invalid_address_error(
            address,
            "before the @, use letters, digits, #$&'*+/=?^_`{}~- and single dots, but not =?",
        )
    # A name that ends in a number is an IP address, not a domain.
    if not _DOMAIN.fullmatch(domain) or domain.rpartition(".")[2].isdecimal():
        raise make_invalid_address_error(address, "what follows the @ is not a domain")
    normal = f"{local}@{domain.lower()}"
    try:
        # Mail headers are built from the address. A failure must show here, not when the mail is sent.
        fits = Address(addr_spec=normal).addr_spec == normal
    except (HeaderParseError, ValueError, IndexError):
        fits = False
    if not fits:
        raise make_invalid_address_error(address, "it is not valid in a mail's header")
    return normal


def get_email_domain(address: str) -> str:
    """Return the part after the last @ of an address."""
    return address.rpartition("@")[2]


def make_invalid_address_error(address: str, why: str) -> InvalidError:
    """Make the error `invalid_email_address` for an address, with the reason."""
    # Shows letters of other alphabets as they were written, as they are often the fault; escapes unprintable
    # characters.
    written = repr(address[:_SHOWN_LIMIT]) + ("..." if len(address) > _SHOWN_LIMIT else "")
    return InvalidError(
        f"{written} is not an e-mail address that is accepted: {why}.", code="invalid_email_address"
    )
