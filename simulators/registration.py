"""Registers a simulator's organisation, sites and boxes by REST, and stores the boxes' passwords.

Each function looks for an existing object before it creates one, so that a second run creates nothing twice.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Self

from app.platform.kernel.atomic_files import replace_file_text
from simulators.rest_client import ApiClient, ApiError, JsonObject, retry_until_reachable

CREDENTIALS_FILE = "simulator-passwords.json"
_BULK = 500
_ROTATIONS_AT_ONCE = 8
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """The site to register; degrees east and north."""

    name: str
    kind: str
    timezone: str
    longitude: float
    latitude: float


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """The box to register; `interval_s` is the time between its samples (seconds)."""

    id: str
    name: str
    longitude: float
    latitude: float
    interval_s: int = 60
    ack: bool = False


@dataclass(slots=True)
class PasswordStore:
    """The boxes' MQTT passwords. The API shows each of them only once, so they are stored.

    Attributes:
        known: Password by box.
        keep: Called with `known` after each change.
    """

    known: dict[str, str]
    keep: Callable[[dict[str, str]], None]

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Load passwords from a file, and save them there with mode 0600.

        A missing or broken file counts as empty, since passwords can be renewed.
        """
        try:
            known = {str(box): str(password) for box, password in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            known = {}

        def keep(passwords: dict[str, str]) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file_text(path, json.dumps(passwords, indent=1), mode=0o600)

        return cls(known, keep)

    def add(self, passwords: Mapping[str, str]) -> None:
        """Add passwords by box, and save."""
        self.known.update(passwords)
        self.keep(self.known)


def geojson_point(longitude: float, latitude: float) -> JsonObject:
    """Build a GeoJSON point from degrees."""
    return {"type": "Point", "coordinates": [longitude, latitude]}


async def find_or_create_organisation(api: ApiClient, name: str) -> str | None:
    """Find or create an organisation by its name.

    Returns:
        Its id; None if the key belongs to one organisation, which is used then.
    """
    try:
        return str((await find_entry(api, "/v1/organisations", "name", name) or {})["id"])
    except KeyError:
        pass
    try:
        return str((await api.post("/v1/organisations", {"name": name}))["id"])
    except ApiError as error:
        if error.status == _FORBIDDEN:
            return None
        raise


async def find_entry(
    api: ApiClient, path: str, name: str, value: str, **same: str | None
) -> JsonObject | None:
    """Return the first entry of a list whose field `name` is `value`, and whose other fields are as given."""
    wanted = {key: text for key, text in same.items() if text is not None}
    async for entry in api.list(path):
        if entry.get(name) == value and all(entry.get(key) == text for key, text in wanted.items()):
            return entry
    return None


async def find_or_create_site(api: ApiClient, spec: SiteSpec, organisation_id: str | None) -> str:
    """Find a site by its name or create it, and return its id."""
    found = await find_entry(api, "/v1/sites", "name", spec.name, organisation_id=organisation_id)
    if found is not None:
        return str(found["id"])
    body: JsonObject = {
        "name": spec.name,
        "kind": spec.kind,
        "timezone": spec.timezone,
        "location": geojson_point(spec.longitude, spec.latitude),
    }
    if organisation_id is not None:
        body["organisation_id"] = organisation_id
    return str((await api.post("/v1/sites", body))["id"])


async def register_boxes(
    api: ApiClient,
    site_id: str,
    organisation_id: str | None,
    specs: Sequence[BoxSpec],
    passwords: PasswordStore | None,
) -> int:
    """Create the missing boxes of a site, and store every box's password.

    An existing box whose password is unknown gets a new one.

    Args:
        api: A client with a key of the organisation or of the platform.
        site_id: The site.
        organisation_id: The site's organisation; None for the key's own.
        specs: The boxes.
        passwords: The store of passwords; None if they are not needed.

    Returns:
        The number of created boxes.

    Raises:
        ApiError: The id of a box is taken elsewhere, or the API refused for another reason.
    """
    present = {str(box["id"]) async for box in api.list("/v1/boxes", site=site_id)}
    missing = [spec for spec in specs if spec.id not in present]
    for chunk in batched(missing, _BULK):
        answer = await api.post(
            "/v1/boxes/bulk", {"boxes": [_body(spec, site_id, organisation_id) for spec in chunk]}
        )
        if passwords is not None:
            passwords.add({box["id"]: box["credentials"]["password"] for box in answer["data"]})
    if passwords is not None:
        await renew_passwords(api, [spec.id for spec in specs if spec.id not in passwords.known], passwords)
    return len(missing)


def _body(spec: BoxSpec, site_id: str, organisation_id: str | None) -> JsonObject:
    owner = {} if organisation_id is None else {"organisation_id": organisation_id}
    return {
        **owner,
        "id": spec.id,
        "site_id": site_id,
        "name": spec.name,
        "location": geojson_point(spec.longitude, spec.latitude),
        "interval_s": spec.interval_s,
        "ack": spec.ack,
    }


async def renew_password(api: ApiClient, box: str, passwords: PasswordStore) -> str:
    """Request a new password for a box, store and return it; retries while the API is unreachable."""
    answer = await retry_until_reachable(lambda: api.post(f"/v1/boxes/{box}/credentials"))
    passwords.add({box: str(answer["credentials"]["password"])})
    return passwords.known[box]


async def renew_passwords(api: ApiClient, ids: Iterable[str], passwords: PasswordStore) -> None:
    """Request a new password for each box, eight at a time."""
    limit = asyncio.Semaphore(_ROTATIONS_AT_ONCE)

    async def one(box: str) -> None:
        async with limit:
            await renew_password(api, box, passwords)

    await asyncio.gather(*(one(box) for box in ids))
