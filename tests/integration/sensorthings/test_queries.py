"""Query options: each result is compared with what was sent."""

from datetime import timedelta
from typing import Any, Final

import pytest

from app.platform.db.database import Database
from app.standard_apis import reader_access
from app.standard_apis.open_data_context import CONNECTIONS
from tests.integration.sensorthings.conftest import EXACT, ROOT, VALUES, Street, collect, get, refused
from tests.integration.timeseries.rollups.street import maintaining

_BOTH = "geography'POLYGON ((1.44 43.60, 1.46 43.60, 1.46 43.62, 1.44 43.62, 1.44 43.60))'"
_FIRST = "geography'POLYGON ((1.444 43.604, 1.446 43.604, 1.446 43.605, 1.444 43.605, 1.444 43.604))'"


def boxes(things: list[Any]) -> list[str]:
    return [thing["properties"]["box"][-1] for thing in things]


_THINGS: Final = [
    ("name eq 'Lamp 1'", "1"),
    ("name ne 'Lamp 1'", "2"),
    ("not (name eq 'Lamp 1')", "2"),
    ("startswith(name,'Lamp') and endswith(name,'2')", "2"),
    ("name eq 'Lamp 1' or properties/box eq 'box-0002'", "12"),
    ("substringof('amp',name)", "12"),
    ("contains(tolower(name),'LAMP 1')", ""),
    ("length(name) eq 6 and indexof(name,'1') eq 5", "1"),
    ("substring(name,5) eq '2'", "2"),
    ("substring(name,0,4) eq 'Lamp'", "12"),
    ("concat(name,'!') eq 'Lamp 2!'", "2"),
    ("trim(' x ') eq 'x' and toupper(name) eq 'LAMP 1'", "1"),
    ("properties/intervalSeconds add 5 eq 65", "12"),
    ("properties/intervalSeconds mod 7 eq 4 and properties/intervalSeconds div 2 gt 29.5", "12"),
    ("properties/firmware eq null", "12"),
    ("not (properties/firmware eq 'x') and not (properties/firmware gt 'x')", "12"),
    ("not (not (properties/firmware eq 'x'))", ""),
    ("round(2.5) eq 3 and floor(-1.5) eq -2 and ceiling(1.2) eq 2", "12"),
    (f"geo.intersects(Locations/location, {_BOTH})", "12"),
    (f"st_within(Locations/location, {_FIRST})", "1"),
    (f"st_disjoint(Locations/location, {_FIRST})", "2"),
    (f"not st_intersects({_FIRST}, Locations/location)", "2"),
    ("st_equals(Locations/location, geography'POINT (1.445317 43.604529)')", "1"),
    ("geo.distance(Locations/location, geography'POINT (1.445317 43.604529)') lt 0.001", "1"),
    (f"st_relate(Locations/location, {_FIRST}, 'T********')", "1"),
    ("st_touches(Locations/location, geography'LINESTRING (1.445317 43.604529, 1.5 43.7)')", "1"),
    ("geo.length(geography'LINESTRING (0 0, 3 4)') eq 5", "12"),
    ("Datastreams/ObservedProperty/name eq 'Ozone'", ""),
    ("Datastreams/properties/metric eq 'laeq' and Datastreams/unitOfMeasurement/symbol eq 'dB'", "12"),
    ("name eq 'x'' or 1 eq 1 --'", ""),
    ("HistoricalLocations/time lt now()", "12"),
    ("year(now()) ge 2026 and month(now()) le 12", "12"),
]


async def test_filters_find_things(street: Street) -> None:
    wrong = []
    for condition, expected in _THINGS:
        found = await collect(street.keyed, "/Things", filter=condition, orderby="properties/box")
        counted = await get(street.keyed, "/Things", filter=condition, count="true", top="0")
        if "".join(boxes(found)) != expected or counted["@iot.count"] != len(expected):
            wrong.append((condition, boxes(found), counted))
    assert wrong == []


_OBSERVATIONS: Final = [
    ("result gt 20", 49),
    ("result gt 20 and result le 21", 10),
    ("result eq 12.4", 1),
    ("result mul 2 eq 24.8", 1),
    ("phenomenonTime ge {10} and phenomenonTime lt {20}", 10),
    ("phenomenonTime gt {10} and resultTime le {20}", 10),
    ("{10} le phenomenonTime and {20} gt phenomenonTime", 10),
    ("phenomenonTime eq {10}", 1),
    ("during(phenomenonTime, {10}/{20})", 11),
    ("before(phenomenonTime, {10}) or after(phenomenonTime, {140})", 19),
    ("overlaps(phenomenonTime, {5}/{6})", 2),
    ("minute(phenomenonTime) eq 7", 3),
    (
        "hour(phenomenonTime) ge 0 and second(resultTime) eq 0 and fractionalseconds(resultTime) eq 0",
        VALUES,
    ),
    ("phenomenonTime lt {0} add duration'PT10M'", 10),
    ("date(phenomenonTime) ge 2000-01-01", VALUES),
    ("Datastream/ObservedProperty/id eq '2'", VALUES),
    ("Datastream/Thing/properties/box eq 'box-0002'", 0),
    (f"geo.intersects(FeatureOfInterest/feature, {_FIRST})", VALUES),
    ("geo.distance(FeatureOfInterest/feature, geography'POINT (1.445317 43.604529)') lt 0.001", VALUES),
]


async def test_filters_find_observations(street: Street) -> None:
    path = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
    wrong = []
    for template, expected in _OBSERVATIONS:
        condition = template
        for minute in range(VALUES):
            time = street.begins + timedelta(minutes=minute)
            condition = condition.replace(f"{{{minute}}}", f"{time:%Y-%m-%dT%H:%M:%SZ}")
        found = await collect(street.keyed, path, filter=condition, top="50")
        counted = await get(street.keyed, path, filter=condition, top="0", count="true")
        if len({each["@iot.id"] for each in found}) != expected or counted["@iot.count"] != expected:
            wrong.append((condition, len(found), counted))
    assert wrong == []


async def test_observations_are_found_by_the_feature_that_is_shown(street: Street) -> None:
    stream = street.stream("box-0001", "pm2_5")
    for client in (street.keyed, street.anonymous):
        feature = await get(client, f"/FeaturesOfInterest('{street.numbers['box-0001']}')")
        for name in ("name", "description", "encodingType", "id"):
            value = str(feature["@iot.id" if name == "id" else name]).replace("'", "''")
            found = await get(
                client,
                f"/Datastreams('{stream}')/Observations",
                filter=f"FeatureOfInterest/{name} eq '{value}'",
                count="true",
                top="0",
            )
            assert found["@iot.count"] == VALUES, (name, value)


async def test_observations_have_both_orders_and_pages(street: Street) -> None:
    path = f"/Datastreams('{street.stream('box-0002', 'pm2_5')}')/Observations"
    up = [
        each["result"] for each in await collect(street.keyed, path, orderby="phenomenonTime asc", top="11")
    ]
    down = [
        each["result"] for each in await collect(street.keyed, path, orderby="phenomenonTime desc", top="11")
    ]
    best = [each["result"] for each in await collect(street.keyed, path, orderby="result desc", top="11")]
    assert up == [10 + n / 10 for n in range(VALUES)]
    assert down == best == up[::-1]
    skipped = await get(street.keyed, path, orderby="phenomenonTime desc", top="3", skip="4")
    assert [each["result"] for each in skipped["value"]] == down[4:7]
    assert "@iot.nextLink" in skipped


async def test_pages_of_entities_stay_in_order(street: Street) -> None:
    every = await collect(street.keyed, "/Datastreams")
    assert len(every) == 8
    for order in (
        "name desc",
        "unitOfMeasurement/symbol,name desc",
        "Thing/name,properties/aggregation desc",
        "id",
    ):
        paged = await collect(street.keyed, "/Datastreams", orderby=order, top="3")
        whole = await collect(street.keyed, "/Datastreams", orderby=order)
        assert [each["@iot.id"] for each in paged] == [each["@iot.id"] for each in whole]
        assert len(paged) == 8


async def test_all_observations_come_datastream_by_datastream(street: Street) -> None:
    found = await collect(street.keyed, "/Observations", top="133")
    ids = [each["@iot.id"] for each in found]
    # Two boxes, two metrics, each with three hours that are over.
    assert len(ids) == len(set(ids)) == 4 * VALUES + 4 * 3
    body = await get(street.keyed, "/Observations", top="0", count="true")
    assert body["@iot.count"] == len(ids)
    newest = await collect(street.keyed, "/Observations", orderby="phenomenonTime desc", top="99")
    times = [each["phenomenonTime"].split("/")[0] for each in newest]
    assert times == sorted(times, reverse=True)
    assert sorted(each["@iot.id"] for each in newest) == sorted(ids)
    of_feature = await collect(
        street.keyed, f"/FeaturesOfInterest('{street.numbers['box-0001']}')/Observations"
    )
    assert len(of_feature) == len(ids) / 2


async def test_expansions_nest_with_their_options(street: Street) -> None:
    body = await get(
        street.keyed,
        "/Things",
        orderby="name",
        select="name",
        expand="Locations,Datastreams($filter=properties/aggregation eq null;$select=name;$orderby=name;"
        "$count=true;$expand=ObservedProperty($select=definition),Observations($orderby=phenomenonTime desc;"
        "$top=1;$select=result,phenomenonTime))",
    )
    first = body["value"][0]
    assert list(first) == ["name", "Locations", "Datastreams", "Datastreams@iot.count"]
    assert first["Locations"][0]["location"]["coordinates"] == list(EXACT["box-0001"])
    dust = next(each for each in first["Datastreams"] if "Particles" in each["name"])
    assert first["Datastreams@iot.count"] == 2
    latest = (street.begins + timedelta(minutes=VALUES - 1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert dust["Observations"] == [{"result": 24.9, "phenomenonTime": latest}]
    assert dust["ObservedProperty"] == {
        "definition": "http://dd.eionet.europa.eu/vocabulary/aq/pollutant/6001"
    }
    following = await get(street.keyed, dust["Observations@iot.nextLink"])
    assert following["value"][0]["result"] == 24.8


async def test_the_latest_hour_is_expanded(street: Street) -> None:
    body = await get(
        street.keyed,
        f"/Things('{street.numbers['box-0001']}')/Datastreams",
        filter="properties/aggregation eq 'hourly mean'",
        expand="Observations($orderby=resultTime desc;$top=1)",
    )
    for stream in body["value"]:
        every = await collect(street.keyed, f"/Datastreams('{stream['@iot.id']}')/Observations")
        (latest,) = stream["Observations"]
        assert latest["result"] == every[-1]["result"]


async def test_stale_hours_without_samples_are_observations(
    street: Street, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/Datastreams('{street.stream('box-0001', 'laeq', hourly=True)}')/Observations"
    before = await collect(street.keyed, path)
    assert len(before) == 3
    owner = await database.connect()
    async with maintaining(database, monkeypatch) as maintainer:
        while await owner.fetchval(
            "SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < $1)", street.begins + timedelta(hours=3)
        ):
            await maintainer.turn()
    # Of the first hour all is removed, and of the second one a part.
    await owner.execute(
        "UPDATE samples SET laeq = NULL WHERE time < $1", street.begins + timedelta(minutes=90)
    )
    assert await collect(street.keyed, path) == before
    await owner.execute(
        "UPDATE rollup_states SET backfill_from = $1, backfill_next = $1, backfill_until = $2",
        *(street.begins, street.begins + timedelta(hours=3)),
    )
    await owner.close()
    assert await collect(street.keyed, path) == before


async def test_data_arrays_and_csv_have_the_same_values(street: Street) -> None:
    path = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')/Observations"
    plain = (await get(street.keyed, path, top="20"))["value"]
    (array,) = (await get(street.keyed, path, top="20", resultFormat="dataArray"))["value"]
    assert array["components"] == ["id", "phenomenonTime", "resultTime", "result", "resultQuality"]
    assert array["dataArray@iot.count"] == 20
    assert [row[3] for row in array["dataArray"]] == [each["result"] for each in plain]
    text = (
        await street.keyed.get(f"{ROOT}{path}?$top=20&$resultFormat=csv&$select=phenomenonTime,result")
    ).text
    header, *lines = text.split("\r\n")[:-1]
    assert header == "phenomenonTime,result"
    assert [float(line.split(",")[1]) for line in lines] == [each["result"] for each in plain]


_FAULTS: Final[list[tuple[str, dict[str, str], str, str | None]]] = [
    ("/Things", {"filter": "name eq"}, "invalid_query", "$filter"),
    ("/Things", {"filter": "name eq 'a"}, "invalid_query", "$filter"),
    ("/Things", {"filter": "name eq 5"}, "wrong_type", "$filter"),
    ("/Things", {"filter": "name"}, "wrong_type", "$filter"),
    ("/Things", {"filter": "colour eq 'red'"}, "unknown_property", "$filter"),
    ("/Things", {"filter": "sleep(name) eq 1"}, "invalid_query", "$filter"),
    ("/Things", {"filter": "length(name,name) eq 1"}, "invalid_query", "$filter"),
    (
        "/Things",
        {"filter": "geo.intersects(Locations/location, geography'POLYGON ((1 2))')"},
        "invalid_geometry",
        "$filter",
    ),
    ("/Things", {"filter": "Datastreams/Observations/result gt 5"}, "not_supported", "$filter"),
    ("/Things", {"filter": "(" * 60 + "1 eq 1" + ")" * 60}, "invalid_query", "$filter"),
    ("/Things", {"filter": "name eq 'a' and name lt null"}, "wrong_type", "$filter"),
    ("/Things", {"orderby": "Datastreams/name"}, "not_supported", "$orderby"),
    ("/Things", {"orderby": "colour"}, "unknown_property", "$orderby"),
    ("/Things", {"select": "colour"}, "unknown_property", "$select"),
    ("/Things", {"expand": "Sensors"}, "unknown_property", "$expand"),
    ("/Things", {"expand": "Datastreams($top=x)"}, "invalid_query", "$expand"),
    ("/Things", {"top": "-1"}, "invalid_option", "$top"),
    ("/Things", {"count": "yes"}, "invalid_option", "$count"),
    ("/Things", {"resultFormat": "xml"}, "invalid_option", "$resultFormat"),
    ("/Things", {"resultFormat": "dataArray"}, "invalid_option", "$resultFormat"),
    ("/Things", {"skipToken": "WyI"}, "invalid_option", "$skipToken"),
    ("/Things", {"colour": "red"}, "invalid_option", None),
    ("/Observations", {"filter": "result gt 5 or Datastream/name eq 'x'"}, "not_supported", "$filter"),
    ("/Observations", {"orderby": "result"}, "not_supported", "$orderby"),
    ("/Observations", {"orderby": "phenomenonTime desc,result"}, "not_supported", "$orderby"),
    # Predicates where no places are known, and properties that are none.
    ("/Locations", {"orderby": f"geo.intersects(location,{_BOTH})"}, "not_supported", "$orderby"),
    ("/Locations", {"orderby": f"st_within(colour,{_BOTH})"}, "unknown_property", "$orderby"),
    ("/Locations", {"orderby": "st_within(location)"}, "wrong_type", "$orderby"),
    ("/Observations", {"filter": f"st_within(location,{_BOTH})"}, "unknown_property", "$filter"),
    ("/Observations", {"filter": f"geo.intersects(phenomenonTime,{_BOTH})"}, "wrong_type", "$filter"),
    # What is too large for a statement.
    ("/Things", {"filter": f"{'Datastreams/Thing/' * 60}name eq 'a'"}, "query_too_large", "$filter"),
    (
        "/Things",
        {"filter": f"{'Datastreams/Thing/' * 3}Datastreams/name eq 'a'"},
        "query_too_large",
        "$filter",
    ),
    (
        "/Datastreams",
        {
            "filter": "Thing/Locations/name ne 'a' and Sensor/Datastreams/name ne 'a' "
            "and ObservedProperty/Datastreams/Thing/HistoricalLocations/time lt now()",
            "orderby": "Sensor/name",
        },
        "query_too_large",
        "$orderby",
    ),
    (
        "/Locations",
        {"filter": " or ".join(f"st_equals(location,geography'POINT ({place} 1)')" for place in range(11))},
        "query_too_large",
        "$filter",
    ),
    ("/Things", {"orderby": ",".join(["id"] * 11)}, "query_too_large", "$orderby"),
    ("/Things", {"expand": f"Datastreams($orderby={','.join(['id'] * 11)})"}, "query_too_large", "$expand"),
    ("/Observations", {"skip": "99999999"}, "query_too_large", "$skip"),
    ("/Observations", {"filter": "phenomenonTime gt 2026-13-01T00:00:00Z"}, "invalid_query", "$filter"),
    # What only the database can find out, and what no text can have.
    ("/Things", {"filter": "1e308 mul 1e308 gt 1"}, "invalid_query", None),
    ("/Things", {"filter": "substring(name,1e20) eq 'a'"}, "invalid_query", None),
    ("/Things", {"filter": "name eq 'a\0b'"}, "invalid_query", "$filter"),
    ("/Things", {"skipToken": "WyJhXHUwMDAwYiJd"}, "invalid_option", "$skipToken"),
    # `[true,"1"]` and `[1000…,"1"]`, where a number belongs.
    (
        "/Things",
        {
            "orderby": "properties/intervalSeconds",
            "skipToken": "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAsIjEiXQ",
        },
        "invalid_query",
        None,
    ),
    (
        "/Things",
        {"orderby": "properties/intervalSeconds", "skipToken": "W3RydWUsIjEiXQ"},
        "invalid_option",
        "$skipToken",
    ),
    (
        "/Observations",
        {"orderby": "phenomenonTime", "skipToken": "W3RydWUsIjEiXQ"},
        "invalid_option",
        "$skipToken",
    ),
    ("/ObservedProperties('a%00')/Datastreams", {}, "invalid_query", None),
    (
        "/Locations",
        {"filter": "geo.distance(location,geography'POINT (1e308 1)') gt 1"},
        "invalid_query",
        None,
    ),
]


async def test_faults_say_what_and_where(street: Street) -> None:
    wrong = []
    for path, params, code, option in _FAULTS:
        problem = await refused(street.anonymous, path, **params)
        if (problem["code"], problem.get("option")) != (code, option):
            wrong.append((params, problem))
    assert wrong == []


async def test_a_fault_names_its_position(street: Street) -> None:
    problem = await refused(street.keyed, "/Things", filter="name eq 'Lamp 1' und name eq 'x'")
    assert problem["position"] == 17
    assert "`and`" in problem["detail"]


async def test_a_request_has_one_time_budget_for_all_its_statements(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each statement is faster than this, all together are not.
    monkeypatch.setattr(reader_access, "BUDGET_S", 0.04)
    expansion = "Datastreams($expand=Observations($filter=result gt 1e9))"
    for _ in range(CONNECTIONS + 1):
        problem = await refused(street.anonymous, "/Things", expand=expansion)
        assert problem["code"] == "query_too_slow"
        assert "phenomenonTime" in problem["detail"]
    monkeypatch.undo()
    assert len((await get(street.anonymous, "/Things", expand=expansion))["value"]) == 2
