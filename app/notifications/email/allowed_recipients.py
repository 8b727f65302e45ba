"""Validates the recipients of mails: their number, their addresses and their domains.

Pure. Neither the domain nor the mailbox is looked up.
"""

from collections.abc import Sequence
from typing import Final

from app.platform.kernel.email_addresses import (
    get_email_domain,
    make_invalid_address_error,
    normalise_email_address,
)
from app.platform.kernel.errors import InvalidError

MAX_RECIPIENTS: Final = 20


def check_recipients(
    addresses: Sequence[str], domains: Sequence[str], *, field: str = "body.to"
) -> list[str]:
    """Check the recipients of a channel.

    Args:
        addresses: The addresses from the request.
        domains: The domains that mails may go to, without their subdomains; empty: any.
        field: The field of the request, for the error.

    Returns:
        The distinct addresses in order, with their domains in lower case.

    Raises:
        InvalidError: `invalid_email_address` for an invalid address, no addresses, or more than
            MAX_RECIPIENTS; `recipient_domain_not_allowed`.
    """
    if not 0 < len(addresses) <= MAX_RECIPIENTS:
        few = InvalidError(f"Give 1 to {MAX_RECIPIENTS} e-mail addresses.", code="invalid_email_address")
        raise few.at(field)
    checked: dict[str, None] = {}
    for index, given in enumerate(addresses):
        try:
            checked[_checked(given, domains)] = None
        except InvalidError as error:
            raise error.at(f"{field}.{index}") from None
    return list(checked)


def _checked(given: str, domains: Sequence[str]) -> str:
    address = normalise_email_address(given)
    if not is_public_recipient(address, domains):
        raise make_invalid_address_error(
            given, "its domain has no dot: it leads to a machine of this installation's network"
        )
    if not is_allowed_recipient(address, domains):
        raise InvalidError(
            f"This installation does not send mail to {get_email_domain(address)}. Use one of: "
            f"{', '.join(domains)}.",
            code="recipient_domain_not_allowed",
        )
    return address


def is_public_recipient(address: str, domains: Sequence[str]) -> bool:
    """Check whether an address is outside this installation's network, or at an allowed domain."""
    return "." in get_email_domain(address) or (bool(domains) and is_allowed_recipient(address, domains))


def is_allowed_recipient(address: str, domains: Sequence[str]) -> bool:
    """Check whether mails may go to the domain of an address; `domains` as for `check_recipients`."""
    return not domains or get_email_domain(address) in {domain.strip().lower() for domain in domains}
