"""Stores profiles: the address of an installation and a key, in a file that only its owner may read."""

import json
import os
import stat
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.client.client_errors import UsageError
from app.platform.kernel.atomic_files import replace_file_text

URL_VARIABLE: Final = "VIGIE_URL"
KEY_VARIABLE: Final = "VIGIE_API_KEY"
PROFILE_VARIABLE: Final = "VIGIE_PROFILE"
DEFAULT_PROFILE: Final = "default"
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Profile:
    """An installation, and the key that opens it."""

    url: str
    key: str


def find_profiles_file() -> Path:
    """Return the path of the profiles, by the XDG Base Directory Specification."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification ignores relative paths.
    folder = Path(given) if Path(given).is_absolute() else Path.home() / ".config"
    return folder / "vigie" / "profiles.json"


def read_profiles() -> dict[str, Profile]:
    """Read all profiles; none before the first login.

    Raises:
        UsageError: Others may read the file, or it is damaged.
    """
    path = find_profiles_file()
    try:
        mode = path.stat().st_mode
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if mode & _OTHERS_MAY:
        raise UsageError(f"Other users may read the keys in {path}. Run: chmod 600 {path}")
    try:
        return {name: Profile(**fields) for name, fields in json.loads(content)["profiles"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is damaged. Remove it, and log in again.") from None


def write_profile(name: str, profile: Profile) -> Path:
    """Add or replace a profile, and return the file."""
    _write(read_profiles() | {name: profile})
    return find_profiles_file()


def remove_profile(name: str) -> None:
    """Remove a profile (UsageError: there is none of that name)."""
    profiles = read_profiles()
    if name not in profiles:
        raise UsageError(f"There is no profile {name!r}. {_list_names(profiles)}")
    del profiles[name]
    _write(profiles)


def _write(profiles: dict[str, Profile]) -> None:
    path = find_profiles_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = {"profiles": {name: asdict(each) for name, each in sorted(profiles.items())}}
    replace_file_text(path, json.dumps(content, indent=2) + "\n", mode=0o600)


def resolve_profile(name: str | None) -> Profile:
    """Return the profile of a command: the environment's URL and key, or a stored profile.

    Args:
        name: The option `--profile`; None: by the environment, else the profile `default`.

    Raises:
        UsageError: There is no such profile, only one of URL and key is set, or one of them cannot be it.
    """
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if name is None and url and key:
        return Profile(check_url(url), check_key(key))
    if name is None and (url or key):
        raise UsageError(f"Set both {URL_VARIABLE} and {KEY_VARIABLE}, or neither.")
    wanted = name or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    profiles = read_profiles()
    if wanted not in profiles:
        raise UsageError(
            f"There is no profile {wanted!r}. {_list_names(profiles)} Run `vigie login URL`, or set "
            f"{URL_VARIABLE} and {KEY_VARIABLE}."
        )
    return profiles[wanted]


def _list_names(profiles: dict[str, Profile]) -> str:
    return f"Profiles: {', '.join(sorted(profiles))}." if profiles else "No profile is stored."


def check_url(url: str) -> str:
    """Return the address of an API without a trailing slash (UsageError: it is not one)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is not an address of an API such as https://vigie.example.com")
    if parts.username or parts.password:
        raise UsageError("The address contains a user name or password. Vigie only needs an API key.")
    return url.rstrip("/")


def check_key(text: str) -> str:
    """Return a key without the white space around it, such as the last newline of a secret's file.

    Raises:
        UsageError: It cannot be a key. The error does not contain the text.
    """
    key = text.strip()
    # Keys and session tokens are ASCII, and httpx sends nothing else in a header.
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(f"There is no key. Type it, send it to standard input, or set {KEY_VARIABLE}.")
    return key


def sends_key_in_clear(url: str) -> bool:
    """Return whether the key crosses a network without TLS."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True
