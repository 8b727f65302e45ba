"""What the key of a grant sees of each entity set: sites, metrics, times and precision of the grant."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.sensorthings.entity_model import make_property_id
from app.timeseries.rollups.worker import RollupWorker
from tests.conftest import STREET, client_of
from tests.integration.grants.grants import give
from tests.integration.sensorthings.conftest import EXACT, ROOT, VALUES, Street, collect, get, send

_FIRST, _LAST = 30, 100
_MINUTES = range(_FIRST, _LAST)


def results(found: list[Any]) -> list[float]:
    return [each["result"] for each in found]


def value(minute: int) -> float:
    return 10 + minute / 10


async def grant(application: FastAPI, street: Street, **more: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401 (JSON)
    """Give the minutes 30 to 99 of pm2_5, at a precision of 1000 m."""
    times = {
        "from": (street.begins + timedelta(minutes=_FIRST)).isoformat(),
        "until": (street.begins + timedelta(minutes=_LAST)).isoformat(),
    }
    return await give(application, street.tenant, street.site_id, **{**times, **more})


@pytest.fixture
async def granted(application: FastAPI, street: Street) -> Any:  # noqa: ANN401 (a generator)
    _, key = await grant(application, street)
    async with client_of(application, key) as client:
        yield client


async def test_observations_are_those_of_the_granted_times(
    street: Street, granted: httpx.AsyncClient
) -> None:
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    path = f"{stream}/Observations"
    expected = [value(minute) for minute in _MINUTES]
    for order in ({}, {"orderby": "phenomenonTime asc"}, {"orderby": "result"}, {"top": "7"}):
        assert results(await collect(granted, path, **order)) == expected, order
    backwards = await collect(granted, path, orderby="phenomenonTime desc")
    assert results(backwards) == expected[::-1]
    assert "resultQuality" not in backwards[0]
    assert (await get(granted, path, count="true", top="0"))["@iot.count"] == len(expected)
    assert (await get(granted, path, count="true", filter="result gt 0"))["@iot.count"] == len(expected)
    (latest,) = (await get(granted, path, orderby="phenomenonTime desc", top="1"))["value"]
    assert latest["result"] == value(_LAST - 1)
    for parent, link in (("Things", "Datastreams"), ("Sensors", "Datastreams")):
        inner = "Observations($orderby=phenomenonTime desc;$top=1;$count=true)"
        body = await get(
            granted, f"/{parent}('{street.numbers['box-0001']}')", expand=f"{link}($expand={inner})"
        )
        raw, hourly = body[link]
        assert [each["result"] for each in raw["Observations"]] == [value(_LAST - 1)]
        assert raw["Observations@iot.count"] == len(expected)
        # Only the hours that the grant includes whole: there is none.
        assert (hourly["Observations"], hourly["Observations@iot.count"]) == ([], 0)
        period = [(street.begins + timedelta(minutes=each)).timestamp() for each in (_FIRST, _LAST - 1)]
        shown = [datetime.fromisoformat(each).timestamp() for each in raw["phenomenonTime"].split("/")]
        assert shown == period
    every = await collect(granted, "/Observations")
    assert results(every) == 2 * expected
    arrays = await get(granted, "/Observations", resultFormat="dataArray", top="1000")
    assert {each["dataArray@iot.count"] for each in arrays["value"]} == {len(expected)}
    csv = await granted.get(f"{ROOT}{path}", params={"$resultFormat": "csv"})
    assert len(csv.text.splitlines()) == 1 + len(expected)
    feature = f"/FeaturesOfInterest('{street.numbers['box-0001']}')/Observations"
    assert results(await collect(granted, feature)) == expected
    flags = await granted.get(f"{ROOT}{path}", params={"$select": "result,resultQuality"})
    assert (flags.status_code, flags.json()["code"]) == (403, "quality_not_granted")


async def test_what_lies_outside_has_no_address(street: Street, granted: httpx.AsyncClient) -> None:
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    ids = [each["@iot.id"] for each in await collect(street.keyed, f"{stream}/Observations", select="id")]
    assert len(ids) == VALUES
    for minute in (0, _FIRST - 1, _FIRST, _LAST - 1, _LAST, VALUES - 1):
        answer = await granted.get(f"{ROOT}/Observations('{ids[minute]}')")
        assert answer.status_code == (200 if minute in _MINUTES else 404), minute
    noise = f"/Datastreams('{street.stream('box-0001', 'laeq')}')"
    secret = (await collect(street.keyed, f"{noise}/Observations"))[_FIRST]["@iot.id"]
    for path in (noise, f"{noise}/Observations", f"/Observations('{secret}')"):
        assert (await granted.get(ROOT + path)).status_code == 404, path
    streams = await collect(granted, "/Datastreams")
    assert {each["properties"]["metric"] for each in streams} == {"pm2_5"}
    assert len(streams) == 4
    assert (await get(granted, "/Datastreams", count="true"))["@iot.count"] == 4
    assert await collect(granted, f"/ObservedProperties('{make_property_id('laeq')}')/Datastreams") == []
    # Neither do filters reveal it, nor what lies outside of the times.
    for condition in ("Datastreams/properties/metric eq 'laeq'", "length(properties/address) gt 0"):
        assert await collect(granted, "/Things", filter=condition) == [], condition
    for condition in ("result lt 12.9", f"result ge {value(_LAST)}", "id eq '" + ids[0] + "'"):
        assert await collect(granted, f"{stream}/Observations", filter=condition) == [], condition


async def test_places_have_the_granted_precision(
    application: FastAPI, street: Street, granted: httpx.AsyncClient
) -> None:
    boxes = {box: (await granted.get(f"/v1/boxes/{box}")).json() for box in EXACT}
    places = {
        each["@iot.id"]: each["location"]["coordinates"] for each in await collect(granted, "/Locations")
    }
    assert places == {street.numbers[box]: shown["location"]["coordinates"] for box, shown in boxes.items()}
    for name in (
        "Things",
        "Locations",
        "HistoricalLocations",
        "Datastreams",
        "Sensors",
        "FeaturesOfInterest",
    ):
        text = (await granted.get(f"{ROOT}/{name}")).text
        for longitude, latitude in EXACT.values():
            assert str(longitude) not in text, name
            assert str(latitude) not in text, name
    exact = "geo.distance(location, geography'POINT (1.445317 43.604529)') lt 0.00001"
    assert await collect(granted, "/Locations", filter=exact) == []
    _, key = await grant(application, street, precision_m=None)
    async with client_of(application, key) as precise:
        (place,) = await collect(precise, "/Locations", filter=exact)
    assert tuple(place["location"]["coordinates"]) == EXACT["box-0001"]
    thing = await get(granted, f"/Things('{street.numbers['box-0001']}')")
    assert {each["purpose"] for each in thing["properties"]["purposes"]} == {"air_quality"}
    assert "address" not in thing["properties"]
    assert thing["properties"]["precisionMetres"] == 1000


async def test_other_sites_do_not_exist(
    application: FastAPI, street: Street, granted: httpx.AsyncClient
) -> None:
    other = (await street.keyed.post("/v1/sites", json=STREET)).json()["id"]
    await street.keyed.post("/v1/boxes", json={"id": "box-0003", "site_id": other})
    await send(street.keyed, "box-0003", [{"time": street.begins.isoformat(), "values": {"pm2_5": 77}}])
    (thing,) = await collect(street.keyed, "/Things", filter="properties/box eq 'box-0003'")
    for name in ("Things", "Locations", "Sensors", "FeaturesOfInterest", "HistoricalLocations"):
        assert len(await collect(granted, f"/{name}")) == len(EXACT), name
        assert (await get(granted, f"/{name}", count="true", top="0"))["@iot.count"] == len(EXACT)
    assert (await granted.get(f"{ROOT}/Things('{thing['@iot.id']}')")).status_code == 404
    # A box that comes from there shows what it measures from now on.
    await street.keyed.patch("/v1/boxes/box-0003", json={"site_id": street.site_id})
    _, key = await grant(application, street, **{"from": None, "until": None})
    path = f"/Things('{thing['@iot.id']}')/Datastreams"
    async with client_of(application, key) as live:
        assert await collect(live, path) == []
        now = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 78}}
        await send(street.keyed, "box-0003", [now])
        raw, hourly = await collect(live, path, expand="Observations($count=true)")
    assert (results(raw["Observations"]), raw["Observations@iot.count"]) == ([78], 1)
    assert hourly["Observations"] == []


async def test_hours_are_those_that_the_grant_includes_whole(application: FastAPI, street: Street) -> None:
    stream = f"/Datastreams('{street.stream('box-0001', 'pm2_5', hourly=True)}')/Observations"
    own = results(await collect(street.keyed, stream))
    for first, last, hours in ((0, 120, [0, 1]), (1, 120, [1]), (0, 119, [0]), (30, None, [1, 2])):
        until = None if last is None else (street.begins + timedelta(minutes=last)).isoformat()
        begin = (street.begins + timedelta(minutes=first)).isoformat()
        _, key = await grant(application, street, **{"from": begin, "until": until})
        async with client_of(application, key) as client:
            found = await collect(client, stream)
            assert results(found) == [own[hour] for hour in hours], (first, last)
            assert (await get(client, stream, count="true", top="0"))["@iot.count"] == len(hours)


async def test_roll_ups_show_no_more_than_samples(
    application: FastAPI, street: Street, database_url: str
) -> None:
    """The same as above where hours come from roll-ups, and counts of values too."""
    maintainer = await asyncpg.connect(database_url, server_settings={"role": "vigie_maintain"})
    while await RollupWorker().run_once(maintainer):
        pass
    assert await maintainer.fetchval("SELECT count(*) FROM hourly") > 0
    await maintainer.close()
    await test_hours_are_those_that_the_grant_includes_whole(application, street)
    _, key = await grant(application, street)
    async with client_of(application, key) as client:
        await test_observations_are_those_of_the_granted_times(street, client)


async def test_uses_are_recorded_and_a_revoked_grant_reads_nothing(
    application: FastAPI, street: Street
) -> None:
    made, key = await grant(application, street)
    async with client_of(application, key) as client:
        path = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
        await get(client, path, top="20")
        await get(client, path, count="true", top="0")
        (own,) = (await client.get("/v1/grant/uses")).json()["data"]
        uses = (await street.keyed.get(f"/v1/grants/{made['id']}/uses")).json()["data"]
        (use,) = [each for each in uses if each["kind"] == "sensorthings"]
        assert use == own
        assert (use["calls"], use["values"]) == (2, 20)
        assert (use["site_ids"], use["metrics"]) == ([street.site_id], ["pm2_5"])
        await street.keyed.delete(f"/v1/grants/{made['id']}")
        answer = await client.get(ROOT + path)
        assert (answer.status_code, answer.json()["code"]) == (401, "grant_revoked")


async def test_the_views_have_the_columns_of_the_others(database_url: str) -> None:
    """One statement reads all sets, and prepared ones stay valid when the search path changes."""
    owner = await asyncpg.connect(database_url)
    rows = await owner.fetch(
        "SELECT c.relname, n.nspname, array_agg((a.attname, a.atttypid)::text ORDER BY a.attname) AS columns "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname IN ('public', 'open_data', 'granted_data') AND c.relkind = 'v' GROUP BY 1, 2"
    )
    await owner.close()
    columns = {(row["nspname"], row["relname"]): row["columns"] for row in rows}
    granted = [name for schema, name in columns if schema == "granted_data"]
    assert {"tenant_samples", "tenant_hourly", "sensorthings_series"} < set(granted)
    for name in granted:
        assert columns["granted_data", name] == columns["public", name], name
        assert columns["granted_data", name] == columns["open_data", name], name


def _count_read_samples(plan: dict[str, Any]) -> float:
    """How many rows of samples a plan read."""
    read = sum(map(_count_read_samples, plan.get("Plans", ())))
    if "box_key" in plan.get("Index Cond", "") and plan.get("Alias", "").startswith("x"):
        read += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return read


async def test_the_newest_granted_value_is_found_by_roll_ups(
    application: FastAPI, street: Street, database_url: str
) -> None:
    """A grant of the past reads a few hours of samples, however long a metric was missing."""
    before = street.begins - timedelta(days=3)
    await send(street.keyed, "box-0001", [{"time": before.isoformat(), "values": {"pm2_5": 3}}])
    maintainer = await asyncpg.connect(database_url, server_settings={"role": "vigie_maintain"})
    while await RollupWorker().run_once(maintainer):
        pass
    await maintainer.close()
    made, key = await grant(application, street, **{"from": None, "until": street.begins.isoformat()})
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        "INSERT INTO samples (box_key, time, laeq) SELECT key, $1::timestamptz - n * interval '1 minute', 50 "
        "FROM boxes, generate_series(1, 4000) n WHERE id = 'box-0001'",
        street.begins,
    )
    await owner.execute("SELECT set_config('vigie.grant', $1, false)", made["id"])
    view = "granted_data.sensorthings_series"
    (row,) = await owner.fetch(f"SELECT metric, value, newest_us FROM {view}")  # noqa: S608 (a constant)
    assert tuple(row) == ("pm2_5", 3, round(before.timestamp()) * 1_000_000)
    explained = await owner.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {view}")  # noqa: S608
    await owner.close()
    assert 0 < _count_read_samples(json.loads(explained)[0]["Plan"]) < 200
    async with client_of(application, key) as client:
        raw, _ = await collect(client, "/Datastreams", expand="Observations")
        assert results(raw["Observations"]) == [3]
