"""Whom mails may go to: what an address has to look like, and which domains are allowed.

Pure: asks no name server, and no mail server whether there is such a mailbox. What is taken is the part of
RFC 5321 that is in use: no quoted names, no comments, no addresses of machines in brackets. So an address can
neither end a header or a command of SMTP, nor begin another one.
"""

import re
from collections.abc import Sequence
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Final

from app.core.errors import InvalidError

MAX_RECIPIENTS: Final = 20
MAX_LENGTH: Final = 254
"""Of an address, in characters (RFC 5321)."""

_MAX_LOCAL: Final = 64
_SHOWN_LIMIT: Final = 80
# Of what RFC 5322 allows, all but what servers read as a route (`%`, `!`) or a command (`|`).
_ATOM: Final = r"[A-Za-z0-9#$&'*+/=?^_`{}~-]+"
_ENCODED: Final = "=?"  # begins an encoded word (RFC 2047), which programs would show as something else
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def check_recipients(
    addresses: Sequence[str], domains: Sequence[str], *, field: str = "body.to"
) -> list[str]:
    """Check the recipients of a channel.

    Args:
        addresses: As a client gives them.
        domains: Those that mails may go to, without their subdomains; empty: any.
        field: Where they were given, for the error.

    Returns:
        The addresses with their domains in lower case, each once, in their order.

    Raises:
        InvalidError: `invalid_email_address` for one that is none, for none at all and for more than
            MAX_RECIPIENTS; `recipient_domain_not_allowed`.
    """
    if not 0 < len(addresses) <= MAX_RECIPIENTS:
        few = InvalidError(f"Give 1 to {MAX_RECIPIENTS} e-mail addresses.", code="invalid_email_address")
        raise few.at(field)
    checked: dict[str, None] = {}
    for place, given in enumerate(addresses):
        try:
            checked[_checked(given, domains)] = None
        except InvalidError as error:
            raise error.at(f"{field}.{place}") from None
    return list(checked)


def _checked(given: str, domains: Sequence[str]) -> str:
    address = normal_address(given)
    if not is_public(address, domains):
        raise _refused(given, "its domain has no dot: it leads to a machine of this installation's network")
    if not is_allowed(address, domains):
        raise InvalidError(
            f"This installation sends no mail to {domain_of(address)}: only to {', '.join(domains)}.",
            code="recipient_domain_not_allowed",
        )
    return address


def normal_address(address: str) -> str:
    """Return an address with its domain in lower case.

    Raises:
        InvalidError: `invalid_email_address`; the detail says what is wrong.
    """
    local, at, domain = address.rpartition("@")
    if not at or len(address) > MAX_LENGTH or len(local) > _MAX_LOCAL:
        raise _refused(address, "an address is name@example.com, of at most 254 characters")
    if not address.isascii():
        raise _refused(address, "write it in ASCII, the domain as punycode (xn--…)")
    if not _LOCAL.fullmatch(local) or _ENCODED in local:
        raise _refused(
            address,
            "before the @ are letters, digits and #$&'*+/=?^_`{}~- with single dots between, but not =?",
        )
    # What ends in a number is an address of a machine, not a domain.
    if not _DOMAIN.fullmatch(domain) or domain.rpartition(".")[2].isdecimal():
        raise _refused(address, "what follows the @ is not a domain")
    normal = f"{local}@{domain.lower()}"
    try:
        # The headers of mails are made of it: what cannot stand there must not be found out at the sending.
        fits = Address(addr_spec=normal).addr_spec == normal
    except (HeaderParseError, ValueError, IndexError):
        fits = False
    if not fits:
        raise _refused(address, "it cannot stand in a mail's header")
    return normal


def is_public(address: str, domains: Sequence[str]) -> bool:
    """Tell whether an address leads out of this network, or to a domain that is named."""
    return "." in domain_of(address) or (bool(domains) and is_allowed(address, domains))


def is_allowed(address: str, domains: Sequence[str]) -> bool:
    """Tell whether mails may go to the domain of an address; `domains` as `check_recipients` has it."""
    return not domains or domain_of(address) in {domain.strip().lower() for domain in domains}


def domain_of(address: str) -> str:
    """Return what follows the last @ of an address."""
    return address.rpartition("@")[2]


def _refused(address: str, why: str) -> InvalidError:
    # Letters of other alphabets as they were written, for they are often what is wrong; nothing unprintable.
    written = repr(address[:_SHOWN_LIMIT]) + ("..." if len(address) > _SHOWN_LIMIT else "")
    return InvalidError(
        f"{written} is not an e-mail address that mails go to: {why}.", code="invalid_email_address"
    )
