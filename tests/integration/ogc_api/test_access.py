"""Who sees what: anonymous callers open data at the published precision, keys their tenant scope."""

from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.ogc_api.conftest import ITEMS, MEASUREMENTS, ROOT, read
from tests.integration.sensorthings.conftest import EXACT, Street
from tests.purposes import approve

_MAP: Final = "https://map.example"

_AREA: Final = "POLYGON((0 40,3 40,3 45,0 45,0 40))"
_PATHS: Final = (
    ROOT,
    f"{ROOT}/conformance",
    f"{ROOT}/collections",
    MEASUREMENTS,
    ITEMS,
    f"{ROOT}/collections/places/items",
    f"{MEASUREMENTS}/locations",
    f"{MEASUREMENTS}/area?coords={_AREA}",
    f"{ROOT}/collections/hourly-means/area?coords={_AREA}&f=CSV",
)


async def test_anonymous_callers_see_open_data_alone(street: Street) -> None:
    register = (await street.anonymous.get("/public/register.json")).json()
    (site,) = register["sites"]
    published = {box["id"]: (box["longitude"], box["latitude"]) for box in site["boxes"]}
    boxes = (await read(street.anonymous, ITEMS))["features"]
    assert {each["id"]: tuple(each["geometry"]["coordinates"]) for each in boxes} == published
    assert all("pm2_5" in each["properties"] and "laeq" not in each["properties"] for each in boxes)
    (place,) = (await read(street.anonymous, f"{ROOT}/collections/places/items"))["features"]
    assert place["geometry"]["coordinates"] == [site["longitude"], site["latitude"]]
    area = await read(street.anonymous, f"{MEASUREMENTS}/area", coords=_AREA)
    assert len(area["coverages"]) == 2
    assert set(area["parameters"]) == {"pm2_5"}
    asked = {"coords": _AREA, "parameter_name": "laeq"}
    assert (await read(street.anonymous, f"{MEASUREMENTS}/area", **asked))["coverages"] == []
    exact = ",".join(map(str, (*EXACT["box-0001"], *EXACT["box-0001"])))
    assert (await read(street.anonymous, ITEMS, bbox=exact))["features"] == []
    assert len((await read(street.keyed, ITEMS, bbox=exact))["features"]) == 1
    for path in _PATHS:
        text = (await street.anonymous.get(path)).text
        for box, (longitude, latitude) in EXACT.items():
            for secret in (box, str(longitude), str(latitude), "Lamp", "laeq"):
                assert secret not in text, (path, secret)


async def test_other_tenants_and_limited_keys_see_nothing(
    street: Street, other_tenant: Tenant, application: FastAPI
) -> None:
    number = street.register["box-0001"]
    foreign = other_tenant.client
    for path in (ITEMS, f"{ROOT}/collections/places/items", f"{MEASUREMENTS}/locations"):
        body = await read(foreign, path)
        assert (body["features"], body["numberMatched"]) == ([], 0), path
    assert (await read(foreign, f"{MEASUREMENTS}/area", coords=_AREA))["coverages"] == []
    assert (await read(foreign, MEASUREMENTS))["parameter_names"] == {}
    for path in (
        f"{ITEMS}/{number}",
        f"{ROOT}/collections/places/items/{street.site_id}",
        f"{MEASUREMENTS}/locations/{number}",
        f"{MEASUREMENTS}/position?coords=POINT(1.445317 43.604529)",
    ):
        assert (await foreign.get(path)).status_code == 404, path
    made = await street.keyed.post("/v1/api-keys", json={"name": "narrow", "scopes": ["telemetry:read"]})
    async with client_of(application, made.json()["key"]) as narrow:
        for path in _PATHS:
            answer = await narrow.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_a_purpose_that_ended_shows_nothing(street: Street, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    await approve(
        owner, street.site_id, "air_quality", open_data=True, ends_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    await owner.close()
    area = await read(street.keyed, f"{MEASUREMENTS}/area", coords=_AREA)
    assert set(area["parameters"]) == {"laeq"}
    assert "pm2_5" not in (await street.keyed.get(ITEMS)).text
    assert "pm2_5" not in (await street.keyed.get(f"{MEASUREMENTS}/locations")).text
    # The register still shows where boxes are, and so does this, without their values.
    for each in (await read(street.anonymous, ITEMS))["features"]:
        assert not {"pm2_5", "laeq", "time"} & set(each["properties"])
    assert (await read(street.anonymous, f"{MEASUREMENTS}/area", coords=_AREA))["coverages"] == []


async def test_nothing_is_open_until_the_operator_enables_it(street: Street, settings: VigieSettings) -> None:
    by_default = settings.model_copy(update={"sensorthings": type(settings)(_env_file=None).sensorthings})
    async with (
        running(new_application(by_default)) as application,
        client_of(application, None) as anonymous,
        client_of(application, street.tenant.key) as keyed,
    ):
        for path in (*_PATHS, f"{ROOT}/api"):
            answer = await anonymous.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "anonymous_access_disabled"), path
            assert "access-control-allow-origin" not in answer.headers, path
            assert (await keyed.get(path)).status_code in {200, 307}, path


async def test_any_page_may_load_open_data_and_see_faults(street: Street) -> None:
    answers = {
        "/openapi.json": 200,
        f"{ROOT}/api": 307,
        f"{ITEMS}?bbox=1": 400,
        f"{ROOT}/collections/cats": 404,
        f"{ROOT}/nowhere": 404,
        "/ngsi-ld/v1/types": 200,
        "/ngsi-ld/v1/entities": 400,
        "/ngsi-ld/v1/subscriptions": 401,
        "/sensorthings/v1.1/Cats": 404,
        "/sensorthings/v1.1/Things?$top=x": 400,
    }
    for path, status in answers.items():
        answer = await street.anonymous.get(path, headers={"Origin": _MAP})
        assert answer.status_code == status, path
        assert answer.headers["access-control-allow-origin"] == "*", path
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Link", "NGSILD-Results-Count", "Retry-After"} <= set(exposed), path
        asked = {"Origin": _MAP, "Access-Control-Request-Method": "GET"}
        preflight = await street.anonymous.options(path, headers=asked)
        assert (preflight.status_code, preflight.content) == (204, b""), path
        assert preflight.headers["access-control-allow-origin"] == "*", path
        keyed = await street.keyed.get(path, headers={"Origin": _MAP})
        assert "access-control-allow-origin" not in keyed.headers, path
    refused_method = await street.anonymous.post(ROOT)
    assert refused_method.status_code == 405
    assert refused_method.headers["access-control-allow-origin"] == "*"
    elsewhere = await street.anonymous.get("/v1/metrics", headers={"Origin": _MAP})
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_caches_depend_on_the_caller(street: Street) -> None:
    for path in _PATHS:
        opened, keyed = await street.anonymous.get(path), await street.keyed.get(path)
        assert opened.headers["access-control-allow-origin"] == "*", path
        assert opened.headers["cache-control"] == "public, max-age=5", path
        assert keyed.headers["cache-control"] == "no-store", path
