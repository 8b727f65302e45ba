"""Whom mails may go to: what an address has to look like, and which domains are allowed.

Pure: asks no name server, and no mail server whether there is such a mailbox. What is taken is the part of
RFC 5321 that is in use: no quoted names, no comments, no addresses of machines in brackets. So an address can
neither end a header or a command of SMTP, nor begin another one.
"""

import re
from collections.abc import Sequence
from typing import Final

from app.core.errors import InvalidError
from app.core.reasons import shown

MAX_RECIPIENTS: Final = 20
MAX_LENGTH: Final = 254
"""Of an address, in characters (RFC 5321)."""

_MAX_LOCAL: Final = 64
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def check_recipients(addresses: Sequence[str], domains: Sequence[str]) -> list[str]:
    """Check the recipients of a channel.

    Args:
        addresses: As a client gives them.
        domains: Those that mails may go to, without their subdomains; empty: any.

    Returns:
        The addresses with their domains in lower case, each once, in their order.

    Raises:
        InvalidError: `invalid_email_address` for one that is none, for none at all and for more than
            MAX_RECIPIENTS; `recipient_domain_not_allowed`.
    """
    if not 0 < len(addresses) <= MAX_RECIPIENTS:
        raise InvalidError(f"Give 1 to {MAX_RECIPIENTS} e-mail addresses.", code="invalid_email_address")
    checked = list(dict.fromkeys(map(normal_address, addresses)))
    for address in checked:
        if not is_allowed(address, domains):
            raise InvalidError(
                f"This installation sends no mail to {domain_of(address)}: only to {', '.join(domains)}.",
                code="recipient_domain_not_allowed",
            )
    return checked


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
    if not _LOCAL.fullmatch(local):
        raise _refused(
            address, "before the @ are letters, digits and !#$%&'*+/=?^_`{|}~- with single dots between"
        )
    # What ends in a number is an address of a machine, not a domain.
    if not _DOMAIN.fullmatch(domain) or domain.rpartition(".")[2].isdecimal():
        raise _refused(address, "what follows the @ is not a domain")
    return f"{local}@{domain.lower()}"


def is_allowed(address: str, domains: Sequence[str]) -> bool:
    """Tell whether mails may go to the domain of an address; `domains` as `check_recipients` has it."""
    return not domains or domain_of(address) in {domain.strip().lower() for domain in domains}


def domain_of(address: str) -> str:
    """Return what follows the last @ of an address."""
    return address.rpartition("@")[2]


def _refused(address: str, why: str) -> InvalidError:
    return InvalidError(
        f"{shown(address)} is not an e-mail address that mails go to: {why}.", code="invalid_email_address"
    )
