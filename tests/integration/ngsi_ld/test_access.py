"""Who sees which entities: anonymous callers open data at the published precision, keys their scope."""

from datetime import UTC, datetime, timedelta

import asyncpg
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.ngsi_ld.conftest import AIR, DEVICE, ENTITIES, NOISE, ROOT, read
from tests.integration.sensorthings.conftest import EXACT, Street
from tests.purposes import approve

_ALL = f"{AIR},{NOISE},{DEVICE}"


async def test_anonymous_callers_see_open_data_alone(street: Street) -> None:
    register = (await street.anonymous.get("/public/register.json")).json()
    (site,) = register["sites"]
    published = {box["id"]: [box["longitude"], box["latitude"]] for box in site["boxes"]}
    air = await read(street.anonymous, type=AIR)
    assert {
        each["id"].rsplit(":", 1)[-1]: each["location"]["value"]["coordinates"] for each in air
    } == published
    assert await read(street.anonymous, type=NOISE) == []
    assert (await read(street.anonymous, f"{ROOT}/types"))["typeList"] == [AIR, DEVICE]
    text = (await street.anonymous.get(ENTITIES, params={"type": _ALL})).text
    for box, (longitude, latitude) in EXACT.items():
        for secret in (box, str(longitude), str(latitude), "Lamp", "LAeq", "noiseLevel"):
            assert secret not in text, secret
        for model in (AIR, NOISE, DEVICE):
            answer = await street.anonymous.get(f"{ENTITIES}/urn:ngsi-ld:{model}:{box}")
            assert answer.status_code == 404
    number = street.register["box-0001"]
    assert (await street.anonymous.get(f"{ENTITIES}/urn:ngsi-ld:{AIR}:{number}")).status_code == 200
    exact = f"[{EXACT['box-0001'][0]},{EXACT['box-0001'][1]}]"
    near = {"georel": "near;maxDistance==0.5", "geometry": "Point", "coordinates": exact}
    assert await read(street.anonymous, type=DEVICE, **near) == []
    assert len(await read(street.keyed, type=DEVICE, **near)) == 1


async def test_other_tenants_and_limited_keys_see_nothing(
    street: Street, other_tenant: Tenant, application: FastAPI
) -> None:
    foreign = other_tenant.client
    assert await read(foreign, type=_ALL) == []
    assert (await read(foreign, f"{ROOT}/types"))["typeList"] == []
    assert (await foreign.get(f"{ENTITIES}/urn:ngsi-ld:{DEVICE}:box-0001")).status_code == 404
    made = await street.keyed.post("/v1/api-keys", json={"name": "narrow", "scopes": ["sites:read"]})
    async with client_of(application, made.json()["key"]) as narrow:
        for path in (f"{ENTITIES}?type={AIR}", f"{ROOT}/types", f"{ENTITIES}/urn:ngsi-ld:{AIR}:box-0001"):
            assert (await narrow.get(path)).status_code == 403, path


async def test_a_purpose_that_ended_shows_nothing(street: Street, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    await approve(
        owner, street.site_id, "air_quality", open_data=True, ends_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    await owner.close()
    for client in (street.anonymous, street.keyed):
        assert await read(client, type=AIR) == []
        devices = await read(client, type=DEVICE)
        assert all("airPollution" not in each["controlledProperty"]["value"] for each in devices)
    assert len(await read(street.keyed, type=NOISE)) == 2


async def test_nothing_is_open_until_the_operator_enables_it(street: Street, settings: VigieSettings) -> None:
    by_default = settings.model_copy(update={"sensorthings": type(settings)(_env_file=None).sensorthings})
    async with (
        running(new_application(by_default)) as application,
        client_of(application, None) as anonymous,
        client_of(application, street.tenant.key) as keyed,
    ):
        for path in (f"{ENTITIES}?type={AIR}", f"{ROOT}/types", f"{ENTITIES}/urn:ngsi-ld:{AIR}:box-0001"):
            answer = await anonymous.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "anonymous_access_disabled"), path
            assert (await keyed.get(path)).status_code == 200, path
        assert (await anonymous.get(f"{ROOT}/jsonldContexts/vigie")).status_code == 200
