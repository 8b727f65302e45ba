"""Declares the purposes of the demo's sites, as a city would: two people sign in, declare and approve.

Each function is idempotent. The people are invented, and their random passwords are not stored, so that
nobody can sign in as one of them. A later start invites new people if it must.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from simulators.demo_state import DemoState
from simulators.rest_client import ApiClient, JsonObject

_LASTS: Final = timedelta(days=730)
_KEPT_DAYS: Final = 30
_CONTROLLER: Final = "Demo City, Urban Environment Department / Ville démo, direction de l'environnement"
_CONTACT: Final = "data-protection@demo-city.example"
_NOTICE: Final = "https://demo-city.example/sensors"
ACOUSTIC_SITE: Final = "street"
"""The site whose boxes recognise gunshots."""

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "air_quality": (
        "Shows how clean the air is where people are, and warns when it is not.",
        "Montre la qualité de l'air là où sont les gens, et alerte quand elle se dégrade.",
    ),
    "noise": (
        "Measures sound levels, never sound itself, to find where noise exceeds the guide values.",
        "Mesure des niveaux sonores, jamais le son lui-même, pour trouver où le bruit dépasse les repères.",
    ),
    "indoor_comfort": (
        "Shows when rooms need airing, heating or shade.",
        "Indique quand aérer, chauffer ou protéger du soleil les pièces.",
    ),
    "odour": (
        "Follows odours that residents complain of back to where they come from.",
        "Remonte à l'origine des odeurs dont se plaignent les riverains.",
    ),
    "equipment": (
        "Keeps the boxes working: their battery, their radio link, and whether somebody opened them.",
        "Maintient les boîtiers en service : batterie, liaison radio, ouverture.",
    ),
}
_INDOOR_SITES: Final = frozenset({"office"})
_OUTDOOR_CLIMATE: Final = (
    (
        "Measures temperature, humidity, air pressure and light outdoors, to find hot places and to "
        "interpret the other values."
    ),
    (
        "Mesure la température, l'humidité, la pression de l'air et la lumière à l'extérieur, pour repérer "
        "les lieux trop chauds et interpréter les autres valeurs."
    ),
)
"""`indoor_comfort` where there are no rooms."""
# Shown with the site's data, because they were measured on another day.
_REPLAYED: Final = (
    (
        "Replays what citizens' sensors measured in Aberdeen on 10 March 2019, as if it were yesterday and "
        "today. Data: © Sensor.Community contributors, Open Database License (ODbL) 1.0."
    ),
    (
        "Rejoue ce que des capteurs citoyens ont mesuré à Aberdeen le 10 mars 2019, comme si c'était hier et "
        "aujourd'hui. Données : © contributeurs de Sensor.Community, licence ODbL 1.0."
    ),
)
_PUBLISHED: Final = frozenset({"air_quality", "noise", "odour"})
"""Purposes whose data the demo city publishes; not those of rooms and of its equipment."""
_LICENCE: Final = "etalab-2.0"
_REPLAYED_LICENCE: Final = "ODbL-1.0"
_ACOUSTIC: Final = {
    "legal_basis": "public_task",
    "legal_reference": "Decision 2026-17 of the city council / Délibération 2026-17 du conseil municipal "
    "(invented, as all of this city is / fictive, comme toute cette ville)",
    "controller": _CONTROLLER,
    "contact": _CONTACT,
    "impact_assessment": "DPIA / AIPD 2026-004",
    "notice": _NOTICE,
    "description": "Tells emergency services within seconds where a shot was fired. Boxes recognise the "
    "sound themselves and send what it was and how loud; no sound leaves them.",
    "description_fr": "Indique aux secours, en quelques secondes, où un coup de feu a retenti. Les boîtiers "
    "reconnaissent le bruit eux-mêmes et n'envoient que sa nature et son niveau ; aucun son n'en sort.",
}


async def complete_environmental_purposes(api: ApiClient, state: DemoState) -> int:
    """Complete the environmental purposes of each site that nobody has completed yet.

    Returns:
        The number of completed purposes.
    """
    completed = 0
    for place, site_id in state.site_ids.items():
        if (await api.get(f"/v1/sites/{site_id}"))["open_data_licence"] is None:
            licence = _REPLAYED_LICENCE if place == "aberdeen" else _LICENCE
            await api.patch(f"/v1/sites/{site_id}", {"open_data_licence": licence})
        for declared in (await api.get(f"/v1/sites/{site_id}/purposes"))["data"]:
            name = str(declared["purpose"])
            if name not in _WORDS or declared["state"] != "active" or declared["controller"] is not None:
                continue
            replayed = place == "aberdeen" and name == "air_quality"
            outdoors = place not in _INDOOR_SITES and name == "indoor_comfort"
            words = _REPLAYED if replayed else _OUTDOOR_CLIMATE if outdoors else _WORDS[name]
            description, description_fr = words
            body: JsonObject = {"controller": _CONTROLLER, "contact": _CONTACT, "notice": _NOTICE}
            # These data are not personal. A site publishes nothing by default, so the demo decides it here.
            body |= {"legal_basis": "not_personal_data", "open_data": name in _PUBLISHED}
            body |= {"description": description, "description_fr": description_fr}
            await api.patch(f"/v1/sites/{site_id}/purposes/{name}", body)
            completed += 1
    return completed


async def approve_acoustic_safety(api: ApiClient, state: DemoState) -> bool:
    """Declare as one person that a site recognises gunshots, and approve it as another.

    Returns:
        Whether it was necessary.
    """
    site_id = state.site_ids[ACOUSTIC_SITE]
    path = f"/v1/sites/{site_id}/purposes/acoustic_safety"
    if (await api.get(path))["state"] == "active":
        return False
    await _keep_shortly(api, site_id)
    ends_at = (datetime.now(UTC) + _LASTS).replace(microsecond=0)
    async with await _person(api, "Camille Roux", "camille.roux@demo-city.example") as declarer:
        await declarer.call("PUT", path, {**_ACOUSTIC, "ends_at": ends_at.isoformat()})
    async with await _person(api, "Dominique Faure", "dominique.faure@demo-city.example") as approver:
        await approver.post(f"{path}/approve")
    return True


async def _keep_shortly(api: ApiClient, site_id: str) -> None:
    """Set the retention of gunshots to 30 days; the other periods do not change."""
    path = f"/v1/sites/{site_id}/retention"
    kept: JsonObject = await api.get(path)
    purposes = {**kept["purposes"], "acoustic_safety": _KEPT_DAYS}
    same = {name: kept[name] for name in ("default_days", "summaries_days")}
    await api.call("PUT", path, {**same, "purposes": purposes, "removes": True})


async def _person(api: ApiClient, name: str, email: str) -> ApiClient:
    """Invite a person, accept the invitation, and return a client with their session."""
    invitation = await api.post("/v1/invitations", {"email": email, "role": "operator"})
    async with ApiClient(api.address, "") as anybody:
        body = {"token": invitation["token"], "name": name, "password": secrets.token_urlsafe(24)}
        signed_in = await anybody.post("/v1/invitations/accept", body)
    return ApiClient(api.address, str(signed_in["token"]))
