"""Finds or creates the demo's objects: organisation, key, sites, boxes, rules, webhook endpoint.

Each function is idempotent.
"""

from collections.abc import Sequence

from simulators import registration
from simulators.demo_definitions import (
    BOX_PREFIX,
    CONDITION_RULES,
    DEMO_BOXES,
    DEMO_RULES,
    DEMO_SITES,
    ENDPOINT_DESCRIPTION,
    FORMER_NAMES,
    ORGANISATION,
    RECIPIENT,
)
from simulators.demo_state import DemoState
from simulators.registration import PasswordStore
from simulators.rest_client import ApiClient, ApiError
from simulators.sensor_community import RecordedStation
from simulators.station_replay import make_box_specs

_EVENTS = [
    *("alert.firing", "alert.resolved", "alert.acknowledged"),
    *("incident.detected", "incident.updated"),
]
_UNAUTHORISED = 401
_NOT_FOUND = 404


async def ensure_organisation_and_key(admin: ApiClient, state: DemoState) -> None:
    """Find or create the organisation, and create a key unless the stored one is valid."""
    found = await registration.find_or_create_organisation(admin, ORGANISATION)
    if found is None:
        raise ApiError(403, "forbidden", "the demo needs the administrator's key")
    if found == state.organisation_id and state.key and await _works(admin.address, state.key):
        return
    body = {"organisation_id": found, "name": "Demo", "scopes": ["*"]}
    state.key = str((await admin.post("/v1/api-keys", body))["key"])
    state.organisation_id = found


async def _works(address: str, key: str) -> bool:
    async with ApiClient(address, key) as api:
        try:
            await api.get("/v1/sites", limit="1")
        except ApiError as error:
            if error.status == _UNAUTHORISED:
                return False
            raise
    return True


async def ensure_sites_and_boxes(
    api: ApiClient, state: DemoState, passwords: PasswordStore, stations: Sequence[RecordedStation]
) -> int:
    """Find or create the sites and their boxes.

    Returns:
        The number of created boxes.
    """
    created = 0
    state.boxes = []
    for place, spec in DEMO_SITES.items():
        await _rename(api, FORMER_NAMES.get(place), spec.name)
        state.site_ids[place] = await registration.find_or_create_site(api, spec, None)
        specs = [each.spec() for each in DEMO_BOXES if each.site == place]
        if place == "aberdeen":
            specs += make_box_specs(stations, BOX_PREFIX)
        created += await registration.register_boxes(api, state.site_ids[place], None, specs, passwords)
        state.boxes += [box.id for box in specs]
    return created


async def _rename(api: ApiClient, former: str | None, name: str) -> None:
    """Rename a site that has its name of an earlier version."""
    found = None if former is None else await registration.find_entry(api, "/v1/sites", "name", str(former))
    if found is not None:
        await api.patch(f"/v1/sites/{found['id']}", {"name": name})


async def ensure_rules(api: ApiClient, state: DemoState) -> int:
    """Create the missing rules, which site and name identify.

    Returns:
        The number of created rules.
    """
    present = {(str(rule["site_id"]), str(rule["name"])) async for rule in api.list("/v1/rules")}
    wanted = [rule.body(state.site_ids[rule.site]) for rule in DEMO_RULES]
    wanted += [{"site_id": state.site_ids[site], **body} for site, body in CONDITION_RULES]
    missing = [body for body in wanted if (body["site_id"], body["name"]) not in present]
    for body in missing:
        await api.post("/v1/rules", body)
    return len(missing)


async def ensure_endpoint(api: ApiClient, state: DemoState, url: str) -> None:
    """Find or create the webhook endpoint, and set its URL to the receiver's current address."""
    if state.endpoint_id and state.secret:
        try:
            await api.patch(f"/v1/webhooks/{state.endpoint_id}", {"url": url, "enabled": True})
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
        else:
            return
    found = await registration.find_entry(api, "/v1/webhooks", "description", ENDPOINT_DESCRIPTION)
    if found is None:
        body = {"url": url, "events": _EVENTS, "description": ENDPOINT_DESCRIPTION, "recipient": RECIPIENT}
        found = await api.post("/v1/webhooks", body)
        state.secret = str(found["secret"])
    else:
        # The endpoint exists, but its secret is lost: a new one replaces it without overlap.
        await api.patch(f"/v1/webhooks/{found['id']}", {"url": url, "enabled": True})
        rotated = await api.post(f"/v1/webhooks/{found['id']}/rotate-secret", {"overlap": "PT0S"})
        state.secret = str(rotated["secret"])
    state.endpoint_id = str(found["id"])
