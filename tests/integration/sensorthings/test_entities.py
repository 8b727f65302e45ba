"""Entities, links, paths and pages, as the standard has them."""

import pytest

from tests.integration.sensorthings.conftest import EXACT, ROOT, VALUES, Street, collect, get


async def test_the_root_lists_entity_sets_and_conformance(street: Street) -> None:
    body = await get(street.anonymous, "")
    assert {each["name"] for each in body["value"]} == {
        *("Things", "Locations", "HistoricalLocations", "Datastreams", "Sensors"),
        *("ObservedProperties", "Observations", "FeaturesOfInterest"),
    }
    assert (
        "http://www.opengis.net/spec/iot_sensing/1.1/req/datamodel" in body["serverSettings"]["conformance"]
    )
    for each in body["value"]:
        assert (await get(street.keyed, each["url"]))["value"]


async def test_a_box_is_a_thing_with_its_place(street: Street) -> None:
    things = await collect(street.keyed, "/Things")
    assert {thing["properties"]["box"] for thing in things} == set(EXACT)
    thing = next(each for each in things if each["properties"]["box"] == "box-0001")
    assert thing["name"] == "Lamp 1"
    place = await get(street.keyed, thing["Locations@iot.navigationLink"])
    assert place["value"][0]["location"] == {"type": "Point", "coordinates": list(EXACT["box-0001"])}


async def test_each_link_leads_to_what_links_back(street: Street) -> None:
    for name in (
        "Things",
        "Locations",
        "HistoricalLocations",
        "Datastreams",
        "Sensors",
        "FeaturesOfInterest",
    ):
        for entity in await collect(street.keyed, f"/{name}", top="3"):
            assert (await get(street.keyed, entity["@iot.selfLink"]))["@iot.id"] == entity["@iot.id"]
            for link, address in entity.items():
                if link.endswith("@iot.navigationLink"):
                    assert await get(street.keyed, address)


async def test_a_datastream_has_unit_property_and_period(street: Street) -> None:
    stream = street.stream("box-0001", "pm2_5")
    found = await get(street.keyed, f"/Datastreams('{stream}')")
    assert found["unitOfMeasurement"] == {
        "name": "microgram per cubic metre",
        "symbol": "µg/m³",
        "definition": "http://www.opengis.net/def/uom/UCUM/ug/m3",
    }
    begin, _, end = found["phenomenonTime"].partition("/")
    assert begin == street.begins.isoformat().replace("+00:00", "Z")
    assert end > begin
    known = await get(street.keyed, found["ObservedProperty@iot.navigationLink"])
    assert known["definition"] == "http://dd.eionet.europa.eu/vocabulary/aq/pollutant/6001"


async def test_observations_are_those_of_readings(street: Street) -> None:
    stream = street.stream("box-0001", "pm2_5")
    found = await collect(street.keyed, f"/Datastreams('{stream}')/Observations", top="40")
    assert len(found) == VALUES
    start = street.begins.isoformat()
    readings = await street.keyed.get(
        "/v1/boxes/box-0001/readings",
        params={"metric": "pm2_5", "from": start, "limit": 1000, "flags": "true"},
    )
    points = readings.json()["points"]
    assert [(each["phenomenonTime"], each["result"], each["resultQuality"]) for each in found] == [
        (point["time"], point["value"], point["flags"]) for point in points
    ]
    one = await get(street.keyed, found[17]["@iot.selfLink"])
    assert one == found[17]


async def test_hours_are_datastreams_of_their_own(street: Street) -> None:
    stream = street.stream("box-0001", "laeq", hourly=True)
    found = await collect(street.keyed, f"/Datastreams('{stream}')/Observations")
    readings = await street.keyed.get(
        "/v1/boxes/box-0001/readings",
        params={"metric": "laeq", "from": street.begins.isoformat(), "bucket": "1h"},
    )
    assert [(each["phenomenonTime"].split("/")[0], each["result"]) for each in found] == [
        (point["time"], point["avg"]) for point in readings.json()["points"]
    ]
    assert len(found) == 3
    one = await get(street.keyed, found[1]["@iot.selfLink"])
    assert one["result"] == found[1]["result"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/Things('{n}')/name", {"name": "Lamp 1"}),
        ("/Things('{n}')/properties/box", {"box": "box-0001"}),
        ("/Datastreams('{s}')/unitOfMeasurement/symbol", {"symbol": "µg/m³"}),
        ("/Things('{n}')/@iot.id", None),
    ],
)
async def test_properties_have_addresses(street: Street, path: str, expected: dict[str, str] | None) -> None:
    number = street.numbers["box-0001"]
    assert await get(street.keyed, path.format(n=number, s=street.stream("box-0001", "pm2_5"))) == (
        expected or {"id": number}
    )


async def test_values_and_references_have_addresses(street: Street) -> None:
    number = street.numbers["box-0001"]
    answer = await street.keyed.get(f"{ROOT}/Things('{number}')/name/$value")
    assert (answer.text, answer.headers["content-type"]) == ("Lamp 1", "text/plain; charset=utf-8")
    found = await get(street.keyed, f"/Things('{number}')/Datastreams/$ref")
    assert {tuple(each) for each in found["value"]} == {("@iot.selfLink",)}
    assert len(found["value"]) == 4


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/Thing",
            "/Things('nobody')",
            "/Things('a')/Nothing",
            "/Observations('x')",
            "/Datastreams('a-b-c')",
            "/Things('99999999999999999')",
        ),
        *("/Things/name", "/$value", "/Observations('1002000946684800000000')"),
    ],
)
async def test_what_does_not_exist_is_404(street: Street, path: str) -> None:
    answer = await street.keyed.get(ROOT + path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text
