"""Who sees what: anonymous callers open data at the published precision, keys their tenant scope."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.catalogue.sensorthings_ids import make_box_id
from app.sensorthings.entity_model import make_property_id
from app.settings import VigieSettings
from app.timeseries.erasure.worker import ErasureWorker
from app.timeseries.rollups.worker import RollupWorker
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.sensorthings.conftest import EXACT, ROOT, VALUES, Street, collect, get, send
from tests.json_numbers import numbers_in
from tests.purposes import approve

_SETS = (
    "Things",
    "Locations",
    "HistoricalLocations",
    "Datastreams",
    "Sensors",
    "Observations",
    "FeaturesOfInterest",
)


async def test_anonymous_callers_see_open_metrics_alone(street: Street) -> None:
    streams = await collect(street.anonymous, "/Datastreams")
    assert {each["properties"]["metric"] for each in streams} == {"pm2_5"}
    assert len(streams) == 4
    (purpose,) = streams[0]["properties"]["purposes"]
    assert purpose["purpose"] == "air_quality"
    assert purpose["legalBasis"] == "public_task"
    found = await collect(
        street.anonymous, f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
    )
    assert [each["result"] for each in found] == [10 + n / 10 for n in range(VALUES)]
    assert all("resultQuality" in each for each in found)
    hours = await collect(
        street.anonymous, f"/Datastreams('{street.stream('box-0001', 'pm2_5', hourly=True)}')/Observations"
    )
    assert len(hours) == 3
    every = await collect(street.anonymous, "/Observations")
    assert len(every) == 2 * VALUES + 2 * 3
    body = await get(street.anonymous, "/Observations", count="true", top="0")
    assert body["@iot.count"] == len(every)


async def test_a_metric_that_is_not_open_does_not_exist(street: Street) -> None:
    number = street.numbers["box-0001"]
    for path in (
        f"/Datastreams('{street.stream('box-0001', 'laeq')}')",
        f"/Datastreams('{street.stream('box-0001', 'laeq')}')/Observations",
    ):
        assert (await street.anonymous.get(ROOT + path)).status_code == 404
    secret = (
        await collect(street.keyed, f"/Datastreams('{street.stream('box-0001', 'laeq')}')/Observations")
    )[0]["@iot.id"]
    assert (await street.anonymous.get(f"{ROOT}/Observations('{secret}')")).status_code == 404
    for expansion in ("Datastreams", "Datastreams($expand=Observations($top=1))"):
        thing = await get(street.anonymous, f"/Things('{number}')", expand=expansion)
        assert {each["properties"]["metric"] for each in thing["Datastreams"]} == {"pm2_5"}
    body = await get(street.anonymous, f"/ObservedProperties('{make_property_id('laeq')}')/Datastreams")
    assert body["value"] == []


async def test_places_are_those_of_the_register(street: Street) -> None:
    register = (await street.anonymous.get("/public/register.json")).json()
    (site,) = register["sites"]
    published = {box["id"]: (box["longitude"], box["latitude"]) for box in site["boxes"]}
    places = await collect(street.anonymous, "/Locations")
    found = {each["@iot.id"]: tuple(each["location"]["coordinates"]) for each in places}
    assert found == {make_box_id(number): place for number, place in published.items()}
    assert set(street.numbers.values()) == set(found)
    for name in _SETS:
        text = (await street.anonymous.get(f"{ROOT}/{name}")).text
        for box, (longitude, latitude) in EXACT.items():
            assert box not in text, name
            assert str(longitude) not in text, name
            assert str(latitude) not in text, name
        assert "Lamp" not in text, name
    # Nor do filters tell an exact place.
    exact = "geo.distance(location, geography'POINT (1.445317 43.604529)') lt 0.00001"
    assert (await get(street.anonymous, "/Locations", filter=exact))["value"] == []
    assert len((await get(street.keyed, "/Locations", filter=exact))["value"]) == 1
    assert (await get(street.anonymous, "/Things", filter="startswith(name,'Lamp')"))["value"] == []


async def erase(street: Street, first: int, last: int) -> None:
    """Erase what a box measured from one minute to another."""
    body = {
        "reason": "test",
        "from": (street.begins + timedelta(minutes=first)).isoformat(),
        "until": (street.begins + timedelta(minutes=last)).isoformat(),
    }
    asked = await street.keyed.post("/v1/boxes/box-0001/erasures", json=body)
    assert asked.status_code == 202, asked.text
    maintainer = await asyncpg.connect(street.database_url, server_settings={"role": "vigie_maintain"})
    while await ErasureWorker().run_once(maintainer):
        pass
    await maintainer.close()


@pytest.mark.parametrize("metric_is_rare", [False, True])
async def test_an_erasure_of_the_newest_samples_leaves_older_ones(
    street: Street, *, metric_is_rare: bool
) -> None:
    """Of a metric that was missing for hours before, too."""
    first = 70
    if metric_is_rare:
        maintainer = await asyncpg.connect(street.database_url, server_settings={"role": "vigie_maintain"})
        while await RollupWorker().run_once(maintainer):
            pass
        await maintainer.close()
        time = (street.begins + timedelta(hours=3, minutes=30)).isoformat()
        await send(street.keyed, "box-0001", [{"time": time, "values": {"laeq": 50}}])
        time = (street.begins + timedelta(hours=3, minutes=40)).isoformat()
        await send(street.keyed, "box-0001", [{"time": time, "values": {"laeq": 50, "pm2_5": 77}}])
        first = 3 * 60 + 35
    await erase(street, first, 4 * 60)
    expected = [10 + n / 10 for n in range(min(first, VALUES))]
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    for client in (street.anonymous, street.keyed):
        found = await get(client, stream, expand="Observations($orderby=phenomenonTime desc;$top=1)")
        assert [each["result"] for each in found["Observations"]] == [expected[-1]]
        found = await collect(client, f"{stream}/Observations")
        assert [each["result"] for each in found] == expected


async def test_what_is_erased_shows_nothing(street: Street) -> None:
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
    await erase(street, 0, 70)
    for client in (street.anonymous, street.keyed):
        found = await collect(client, stream)
        assert [each["result"] for each in found] == [10 + n / 10 for n in range(70, VALUES)]
        assert (await get(client, stream, count="true", top="0"))["@iot.count"] == len(found)
    hours = await collect(
        street.keyed, f"/Datastreams('{street.stream('box-0001', 'pm2_5', hourly=True)}')/Observations"
    )
    assert len(hours) == 2


async def test_what_ends_or_is_removed_shows_nothing(street: Street, database_url: str) -> None:
    number = street.numbers["box-0001"]
    removed = await street.keyed.delete("/v1/boxes/box-0002")
    assert removed.status_code == 204
    for client in (street.anonymous, street.keyed):
        assert len(await collect(client, "/Things")) == 1
        assert (await client.get(f"{ROOT}/Things('{street.numbers['box-0002']}')")).status_code == 404
    owner = await asyncpg.connect(database_url)
    await approve(
        owner, street.site_id, "air_quality", open_data=True, ends_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    await owner.close()
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    for client in (street.anonymous, street.keyed):
        for path in (stream, f"{stream}/Observations"):
            assert (await client.get(ROOT + path)).status_code == 404, path
        thing = await get(client, f"/Things('{number}')", expand="Datastreams")
        assert "pm2_5" not in {each["properties"]["metric"] for each in thing["Datastreams"]}
    assert await collect(street.anonymous, "/Observations") == []


async def test_what_a_box_measured_elsewhere_is_not_open(street: Street) -> None:
    place = {"type": "Point", "coordinates": [1.5, 43.7]}
    body = {"name": "Office", "kind": "office", "timezone": "Europe/Paris", "location": place}
    other = (await street.keyed.post("/v1/sites", json=body)).json()["id"]
    moved = await street.keyed.patch("/v1/boxes/box-0001", json={"site_id": other})
    assert moved.status_code == 200, moved.text
    back = await street.keyed.patch("/v1/boxes/box-0001", json={"site_id": street.site_id})
    assert back.status_code == 200, back.text
    assert (
        await street.anonymous.get(f"{ROOT}/Datastreams('{street.stream('box-0001', 'pm2_5')}')")
    ).status_code == 404
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 77}}
    await street.keyed.post("/v1/telemetry", json={"box": "box-0001", "samples": [sample]})
    found = await collect(
        street.anonymous, f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
    )
    assert [each["result"] for each in found] == [77]
    body = await get(
        street.anonymous, f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations", count="true"
    )
    assert body["@iot.count"] == 1
    assert (
        len(await collect(street.keyed, f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"))
        == VALUES + 1
    )


async def test_the_hour_of_a_move_is_open_from_the_move_on(street: Street, database_url: str) -> None:
    came_at = street.begins + timedelta(minutes=30)
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE boxes SET came_at = $1 WHERE id = 'box-0001'", came_at)
    await owner.close()
    maintainer = await asyncpg.connect(database_url, server_settings={"role": "vigie_maintain"})
    while await RollupWorker().run_once(maintainer):
        pass
    await maintainer.close()
    raw, hourly = (
        f"/Datastreams('{street.stream('box-0001', 'pm2_5', hourly=each)}')" for each in (False, True)
    )
    for late in (False, True):
        if late:
            # The roll-up of this hour is not current until it is computed again.
            sample = {"time": (came_at + timedelta(seconds=90)).isoformat(), "values": {"pm2_5": 77}}
            await send(street.keyed, "box-0001", [sample])
        found = await get(street.anonymous, f"{raw}/Observations", count="true", top="1000")
        results = [each["result"] for each in found["value"] if each["result"] != 77]
        assert results == [10 + n / 10 for n in range(30, VALUES)]
        assert found["@iot.count"] == len(found["value"]) == len(results) + late
        begin, _, _ = (await get(street.anonymous, raw))["phenomenonTime"].partition("/")
        assert datetime.fromisoformat(begin) == came_at
        hours = await get(street.anonymous, f"{hourly}/Observations", count="true")
        begins = [datetime.fromisoformat(each["phenomenonTime"].split("/")[0]) for each in hours["value"]]
        assert begins == [street.begins + timedelta(hours=hour) for hour in (1, 2)]
        assert hours["@iot.count"] == 2


async def test_values_of_the_day_of_a_move_do_not_hide_when_a_datastream_begins(
    street: Street, database_url: str
) -> None:
    """The day has a roll-up, of which no hour is of the present place."""
    morning = street.begins.replace(hour=3) - timedelta(days=2)
    await send(street.keyed, "box-0001", [{"time": morning.isoformat(), "values": {"pm2_5": 5}}])
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        "UPDATE boxes SET came_at = $1 WHERE id = 'box-0001'", morning + timedelta(hours=9, minutes=5)
    )
    await owner.close()
    maintainer = await asyncpg.connect(database_url, server_settings={"role": "vigie_maintain"})
    while await RollupWorker().run_once(maintainer):
        pass
    await maintainer.close()
    for hourly in (False, True):
        datastream = f"/Datastreams('{street.stream('box-0001', 'pm2_5', hourly=hourly)}')"
        for client, begins in ((street.anonymous, street.begins), (street.keyed, morning)):
            found = await get(client, datastream)
            begin = begins.replace(minute=0, second=0, microsecond=0) if hourly else begins
            shown = {name: found[name].partition("/")[0] for name in ("phenomenonTime", "resultTime")}
            assert {name: datetime.fromisoformat(time) for name, time in shown.items()} == {
                "phenomenonTime": begin,
                "resultTime": begin + timedelta(hours=hourly),
            }


async def test_a_historical_location_has_the_same_id_for_all(street: Street) -> None:
    for client in (street.anonymous, street.keyed):
        places = await collect(client, "/HistoricalLocations")
        assert {each["@iot.id"] for each in places} == set(street.numbers.values())
        for each in places:
            (alone,) = [await get(street.keyed, each["@iot.selfLink"])]
            assert alone["@iot.id"] == each["@iot.id"]


async def test_other_tenants_and_limited_keys_see_their_own(
    street: Street, other_tenant: Tenant, application: FastAPI
) -> None:
    for name in _SETS:
        assert await collect(other_tenant.client, f"/{name}") == [], name
    number = street.numbers["box-0001"]
    assert (await other_tenant.client.get(f"{ROOT}/Things('{number}')")).status_code == 404
    made = await street.keyed.post("/v1/api-keys", json={"name": "narrow", "scopes": ["telemetry:read"]})
    async with client_of(application, made.json()["key"]) as narrow:
        answer = await narrow.get(f"{ROOT}/Things")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("header", ["Bearer vg_nonsense", "Basic dXNlcjpwYXNz"])
async def test_a_wrong_key_is_no_anonymous_caller(application: FastAPI, header: str) -> None:
    async with client_of(application, None) as client:
        answer = await client.get(f"{ROOT}/Things", headers={"Authorization": header})
    assert answer.status_code == 401


async def test_nothing_is_open_until_the_operator_enables_it(street: Street, settings: VigieSettings) -> None:
    by_default = settings.model_copy(update={"sensorthings": type(settings)(_env_file=None).sensorthings})
    async with (
        running(new_application(by_default)) as application,
        client_of(application, None) as anonymous,
        client_of(application, street.tenant.key) as keyed,
    ):
        for path in ("", *(f"/{name}" for name in _SETS), f"/Things('{street.numbers['box-0001']}')"):
            answer = await anonymous.get(ROOT + path)
            assert (answer.status_code, answer.json()["code"]) == (401, "anonymous_access_disabled"), path
            assert (await keyed.get(ROOT + path)).status_code == 200, path
    assert "Send a key" in answer.json()["detail"]


async def test_any_page_may_load_open_data(street: Street) -> None:
    answer: httpx.Response = await street.anonymous.get(
        f"{ROOT}/Things", headers={"Origin": "https://map.example"}
    )
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "public, max-age=5"
    keyed = await street.keyed.get(f"{ROOT}/Things")
    assert keyed.headers["cache-control"] == "no-store"


async def test_what_was_measured_before_the_purpose_is_not_open(street: Street, database_url: str) -> None:
    begins = datetime.now(UTC) - timedelta(minutes=1)
    owner = await asyncpg.connect(database_url)
    await approve(owner, street.site_id, "air_quality", open_data=True, starts_at=begins)
    await owner.close()
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    latest = "Observations($orderby=phenomenonTime desc;$top=1)"
    places = (
        "/ogc/collections/boxes/items",
        "/ogc/collections/measurements",
        "/ogc/collections/measurements/locations",
        "/ngsi-ld/v1/entities?type=AirQualityObserved,Device",
        f"{ROOT}/Datastreams?$expand={latest}",
        f"{ROOT}/Things?$expand=Datastreams($expand={latest})",
    )
    old = (street.begins + timedelta(minutes=VALUES - 1)).isoformat().replace("+00:00", "Z")
    value = round(10 + (VALUES - 1) / 10, 1)
    for place in places:
        answer = await street.anonymous.get(place)
        assert answer.status_code == 200, (place, answer.text)
        assert old not in answer.text, place
        assert value not in numbers_in(answer.text), place
        assert old in (await street.keyed.get(place)).text, place
    assert await collect(street.anonymous, "/Datastreams") == []
    assert (await street.anonymous.get(ROOT + stream)).status_code == 404
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 77}}
    await send(street.keyed, "box-0001", [sample])
    raw, _ = await collect(street.anonymous, "/Datastreams", expand=latest)
    assert [each["result"] for each in raw["Observations"]] == [77]
    first = raw["phenomenonTime"].split("/", maxsplit=1)[0]
    assert datetime.fromisoformat(first) >= begins
    for place in places:
        assert old not in (await street.anonymous.get(place)).text, place
