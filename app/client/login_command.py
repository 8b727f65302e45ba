"""Implements `vigie login`: reads a key without showing it, verifies it and stores it."""

import getpass
import os
import sys
from collections.abc import Callable

from app.client.api_connection import ApiConnection
from app.client.client_errors import ApiError
from app.client.output_formats import clean_text
from app.client.profiles import (
    KEY_VARIABLE,
    Profile,
    check_key,
    check_url,
    sends_key_in_clear,
    write_profile,
)

_UNAUTHORISED = 401
_GRANT_PREFIX = "vgg_"


def run_login(url: str, name: str, report: Callable[[str], object]) -> None:
    """Verify and store a key.

    Args:
        url: The address of the API.
        name: The profile.
        report: Prints a line.

    Raises:
        UsageError: The address or the key cannot be one.
        ApiError: The API refused the key.
        UnreachableError: There is no API at the address.
    """
    address = check_url(url)
    if sends_key_in_clear(address):
        report(f"vigie: {address} has no TLS. Everyone on the way can read the key.")
    profile = Profile(address, _read_key())
    is_grant = profile.key.startswith(_GRANT_PREFIX)
    with ApiConnection(profile) as api:
        try:
            caller = api.get("/v1/grant" if is_grant else "/v1/me")
        except ApiError as error:
            if error.status != _UNAUTHORISED:
                raise
            raise ApiError(
                error.status, {**error.problem, "detail": "The API does not know this key."}
            ) from None
    file = write_profile(name, profile)
    if is_grant:
        giver, recipient = clean_text(caller["organisation"]), clean_text(caller["recipient"])
        report(f"Logged in to {address} as {recipient!r} with a grant of {giver!r}.")
        report(f"It ends at {caller['content']['valid_until']}. Profile {name!r} is in {file}.")
        return
    organisation = clean_text(caller["organisation"]["name"])
    report(f"Logged in to {address} as {clean_text(caller['name'])!r} of {organisation!r}.")
    report(f"Scopes: {', '.join(caller['scopes'])}. Profile {name!r} is in {file}.")


def _read_key() -> str:
    if key := os.environ.get(KEY_VARIABLE):
        return check_key(key)
    return check_key(getpass.getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline())
