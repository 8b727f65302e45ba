"""Makes the demo's things, or finds them again: organisation, key, sites, boxes, rules, webhook endpoint.

Each function may be repeated at any time and creates nothing twice. Must not send measurements.
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
    """Find or create the organisation, and make sure that the key in the state is one of its keys."""
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
        How many boxes were created.
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
    """Give a site that still has its former name the one of now."""
    found = None if former is None else await registration.find_entry(api, "/v1/sites", "name", str(former))
    if found is not None:
        await api.patch(f"/v1/sites/{found['id']}", {"name": name})


async def ensure_rules(api: ApiClient, state: DemoState) -> int:
    """Create the rules that are not there, by their site and name.

    Returns:
        How many were created.
    """
    present = {(str(rule["site_id"]), str(rule["name"])) async for rule in api.list("/v1/rules")}
    wanted = [rule.body(state.site_ids[rule.site]) for rule in DEMO_RULES]
    wanted += [{"site_id": state.site_ids[site], **body} for site, body in CONDITION_RULES]
    missing = [body for body in wanted if (body["site_id"], body["name"]) not in present]
    for body in missing:
        await api.post("/v1/rules", body)
    return len(missing)


async def ensure_endpoint(api: ApiClient, state: DemoState, url: str) -> None:
    """Lead the endpoint to the receiver's address of now; create it when it is not there."""
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
        # It is there, but its secret was forgotten: nobody needs that one to go on signing.
        await api.patch(f"/v1/webhooks/{found['id']}", {"url": url, "enabled": True})
        rotated = await api.post(f"/v1/webhooks/{found['id']}/rotate-secret", {"overlap": "PT0S"})
        state.secret = str(rotated["secret"])
    state.endpoint_id = str(found["id"])
