"""Entities of the Smart Data Models: attributes, selections, pages, contexts."""

import json
from datetime import timedelta

import httpx
import pytest
from shapely.geometry.base import BaseGeometry

from app.measurement_stream.formats.ngsi_ld import CONTEXTS
from app.ngsi_ld import entity_queries
from app.platform.db.database import ReadSession
from app.sensorthings.box_places import find_boxes_within
from tests.integration.ngsi_ld.conftest import AIR, DEVICE, ENTITIES, NOISE, ROOT, read, refused
from tests.integration.sensorthings.conftest import EXACT, VALUES, Street, send


def newest(street: Street) -> str:
    return (street.begins + timedelta(minutes=VALUES - 1)).isoformat().replace("+00:00", "Z")


async def test_observations_have_the_latest_values(street: Street) -> None:
    air, other = await read(street.keyed, type=AIR)
    assert (air["id"], other["id"]) == (f"urn:ngsi-ld:{AIR}:box-0001", f"urn:ngsi-ld:{AIR}:box-0002")
    assert air["type"] == AIR
    assert air["pm25"] == {
        "type": "Property",
        "value": 10 + (VALUES - 1) / 10,
        "unitCode": "GQ",
        "observedAt": newest(street),
    }
    assert air["dateObserved"]["value"] == {"@type": "DateTime", "@value": newest(street)}
    assert air["refDevice"] == {"type": "Relationship", "object": "urn:ngsi-ld:Device:box-0001"}
    assert air["location"]["value"] == {"type": "Point", "coordinates": list(EXACT["box-0001"])}
    noise = await read(street.keyed, f"{ENTITIES}/urn:ngsi-ld:{NOISE}:box-0001", options="keyValues")
    assert noise == {
        "id": f"urn:ngsi-ld:{NOISE}:box-0001",
        "type": NOISE,
        "dateObservedFrom": newest(street),
        "dateObservedTo": newest(street),
        "refDevice": "urn:ngsi-ld:Device:box-0001",
        "LAeq": 50 + (VALUES - 1) % 7,
        "location": {"type": "Point", "coordinates": list(EXACT["box-0001"])},
        "name": "Lamp 1",
        "dataProvider": noise["dataProvider"],
    }


async def test_units_are_those_of_the_models(street: Street) -> None:
    time = (street.begins + timedelta(hours=3)).isoformat()
    values = {"humidity": 55.5, "temperature": -1.5, "co": 0.5, "battery": 80}
    await send(street.keyed, "box-0001", [{"time": time, "values": values}])
    air = await read(street.keyed, f"{ENTITIES}/urn:ngsi-ld:{AIR}:box-0001")
    assert (air["relativeHumidity"]["value"], air["relativeHumidity"]["unitCode"]) == (0.555, "C62")
    assert (air["temperature"]["value"], air["temperature"]["unitCode"]) == (-1.5, "CEL")
    assert (air["co"]["value"], air["co"]["unitCode"]) == (0.5, "GP")
    assert "battery" not in air
    device = await read(street.keyed, f"{ENTITIES}/urn:ngsi-ld:{DEVICE}:box-0001", options="keyValues")
    assert device["batteryLevel"] == 0.8
    assert set(device["controlledProperty"]) == {
        *("airPollution", "noiseLevel", "temperature", "humidity", "batteryLife")
    }


async def test_values_are_those_of_readings(street: Street) -> None:
    time = (street.begins + timedelta(hours=3)).isoformat()
    # A device that computes in float32 sends the decimal of its double.
    values = {"temperature": 21.440000534057617, "humidity": 55.29999923706055, "battery": 33.29999923706055}
    await send(street.keyed, "box-0001", [{"time": time, "values": values}])
    readings = await read(street.keyed, "/v1/boxes/box-0001/readings", metric="temperature")
    assert "21.44" in json.dumps(readings)
    assert "21.440000" not in json.dumps(readings)
    air = await read(street.keyed, f"{ENTITIES}/urn:ngsi-ld:{AIR}:box-0001", options="keyValues")
    assert (air["temperature"], air["relativeHumidity"]) == (21.44, 0.553)
    device = await read(street.keyed, f"{ENTITIES}/urn:ngsi-ld:{DEVICE}:box-0001", options="keyValues")
    assert device["batteryLevel"] == 0.333
    box = await read(street.keyed, f"/ogc/collections/boxes/items/{street.register['box-0001']}")
    assert box["properties"]["temperature"] == 21.44
    (latest,) = (
        await read(
            street.keyed,
            f"/sensorthings/v1.1/Datastreams('{street.stream('box-0001', 'temperature')}')",
            **{"$expand": "Observations($orderby=phenomenonTime desc;$top=1)"},
        )
    )["Observations"]
    assert latest["result"] == 21.44


async def test_types_ids_and_attributes_select(street: Street) -> None:
    assert (await read(street.keyed, f"{ROOT}/types"))["typeList"] == [AIR, NOISE, DEVICE]
    iri = "https://smartdatamodels.org/dataModel.Device/Device"
    both = await read(street.keyed, type=f"{iri},{AIR}")
    assert [each["type"] for each in both] == [AIR, AIR, DEVICE, DEVICE]
    one = await read(street.keyed, id=f"urn:ngsi-ld:{DEVICE}:box-0002,urn:ngsi-ld:{AIR}:nobody,nonsense")
    assert [each["id"] for each in one] == [f"urn:ngsi-ld:{DEVICE}:box-0002"]
    assert await read(street.keyed, type=NOISE, id=f"urn:ngsi-ld:{DEVICE}:box-0002") == []
    parts = await read(street.keyed, attrs="pm25")
    assert [(set(each), each["type"]) for each in parts] == [({"id", "type", "pm25"}, AIR)] * 2
    places = await read(street.keyed, attrs="location")
    assert len(places) == 6
    assert await read(street.keyed, attrs="no2") == []
    assert await read(street.keyed, type=DEVICE, attrs="pm25") == []


async def test_places_select(street: Street) -> None:
    near = {"georel": "near;maxDistance==100", "geometry": "Point", "coordinates": "[1.445317,43.604529]"}
    assert {each["id"] for each in await read(street.keyed, type=DEVICE, **near)} == {
        f"urn:ngsi-ld:{DEVICE}:box-0001"
    }
    high = {**near, "coordinates": "[1.445317,43.604529,150]"}
    assert len(await read(street.keyed, type=DEVICE, **high)) == 1
    near["georel"] = "near;maxDistance==2000"
    assert len(await read(street.keyed, type=DEVICE, **near)) == 2
    ring = [[1.449, 43.6], [1.46, 43.6], [1.46, 43.62], [1.449, 43.62], [1.449, 43.6]]
    within = {"georel": "within", "geometry": "Polygon", "coordinates": json.dumps([ring])}
    assert [each["id"] for each in await read(street.keyed, type=AIR, **within)] == [
        f"urn:ngsi-ld:{AIR}:box-0002"
    ]


async def test_pages_and_counts(street: Street) -> None:
    answer = await street.keyed.get(
        ENTITIES, params={"type": f"{AIR},{DEVICE}", "limit": "3", "count": "true"}
    )
    assert answer.headers["NGSILD-Results-Count"] == "4"
    assert len(answer.json()) == 3
    following = answer.links["next"]["url"]
    last = await street.keyed.get(following)
    assert [each["id"] for each in last.json()] == [f"urn:ngsi-ld:{DEVICE}:box-0002"]
    assert "next" not in last.links


async def test_an_empty_page_counts(street: Street) -> None:
    answer = await street.keyed.get(ENTITIES, params={"type": AIR, "limit": "0", "count": "true"})
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["NGSILD-Results-Count"] == "2"
    assert "next" not in answer.links
    problem = await refused(street.keyed, type=AIR, limit="0")
    assert problem["option"] == "limit"
    assert "count=true" in problem["detail"]


async def test_pages_have_only_entities_with_the_attributes(street: Street) -> None:
    time = (street.begins + timedelta(hours=3)).isoformat()
    await send(street.keyed, "box-0002", [{"time": time, "values": {"battery": 80}}])
    site = {"site_id": street.site_id}
    (await street.keyed.post("/v1/boxes", json={"id": "box-0000", **site})).raise_for_status()
    both = ["box-0001", "box-0002"]
    # Client, type, attribute → the boxes.
    expected: list[tuple[httpx.AsyncClient, str, str, list[str]]] = [
        (street.keyed, DEVICE, "batteryLevel", ["box-0002"]),
        (street.keyed, DEVICE, "name", both),
        (street.keyed, DEVICE, "firmwareVersion", []),
        (street.keyed, DEVICE, "dateLastValueReported", both),
        (street.keyed, DEVICE, "batteryLevel,category", ["box-0000", *both]),
        (street.keyed, AIR, "name", both),
        (street.keyed, AIR, "dateObservedFrom", []),
        (street.keyed, NOISE, "dateObservedFrom", both),
        (street.anonymous, f"{AIR},{DEVICE}", "name", []),
        (street.anonymous, AIR, "dataProvider", [street.register[box] for box in both]),
    ]
    for client, kind, attributes, boxes in expected:
        asked = {"type": kind, "attrs": attributes, "count": "true", "limit": "1"}
        answer = await client.get(ENTITIES, params=asked)
        assert answer.headers["NGSILD-Results-Count"] == str(len(boxes)), (kind, attributes)
        found = answer.json()
        while "next" in answer.links:
            answer = await client.get(answer.links["next"]["url"])
            assert len(answer.json()) == 1
            found += answer.json()
        assert sorted(each["id"].rsplit(":", 1)[-1] for each in found) == sorted(boxes), (kind, attributes)


async def test_an_area_may_have_more_boxes_than_a_statement_has_parameters(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_many(session: ReadSession, area: BaseGeometry) -> list[int]:
        return [*await find_boxes_within(session, area), *range(1_000_000, 1_040_000)]

    monkeypatch.setattr(entity_queries, "find_boxes_within", find_many)
    ring = [[1.4, 43.6], [1.46, 43.6], [1.46, 43.62], [1.4, 43.62], [1.4, 43.6]]
    within = {"georel": "within", "geometry": "Polygon", "coordinates": json.dumps([ring])}
    assert len(await read(street.keyed, type=AIR, **within)) == 2


async def test_the_context_is_a_header_or_in_the_body(street: Street) -> None:
    plain = await street.keyed.get(ENTITIES, params={"type": AIR})
    assert plain.headers["content-type"] == "application/json"
    link = plain.links["http://www.w3.org/ns/json-ld#context"]
    context = await street.anonymous.get(link["url"])
    assert context.json() == {"@context": list(CONTEXTS)}
    linked = await street.keyed.get(ENTITIES, params={"type": AIR}, headers={"Accept": "application/ld+json"})
    assert linked.headers["content-type"] == "application/ld+json"
    assert [each["@context"] for each in linked.json()] == [link["url"]] * 2
    assert "http://www.w3.org/ns/json-ld#context" not in linked.links


async def test_a_fault_says_what_is_wrong(street: Street) -> None:
    point = {"georel": "near;maxDistance==1", "geometry": "Point", "coordinates": "[1,2]", "type": AIR}
    faults: list[tuple[dict[str, str], str, str]] = [
        ({}, "BadRequestData", "type"),
        ({"type": "Cat"}, "BadRequestData", "type"),
        ({"type": AIR, "limit": "1001"}, "BadRequestData", "limit"),
        ({"type": AIR, "offset": "-1"}, "BadRequestData", "offset"),
        ({"type": AIR, "limit": "-1"}, "BadRequestData", "limit"),
        ({"type": AIR, "count": "yes"}, "BadRequestData", "count"),
        ({"type": AIR, "options": "sysAttrs"}, "BadRequestData", "options"),
        ({"type": AIR, "geometry": "Point"}, "BadRequestData", "georel"),
        ({**point, "geometry": "Polygon"}, "BadRequestData", "geometry"),
        ({**point, "coordinates": "[1]"}, "BadRequestData", "coordinates"),
        ({**point, "coordinates": '[1,2],"type":"Point"'}, "BadRequestData", "coordinates"),
        ({**point, "georel": "overlaps"}, "OperationNotSupported", "georel"),
        ({"type": AIR, "q": "pm25>25"}, "OperationNotSupported", "q"),
    ]
    for params, kind, option in faults:
        problem = await refused(street.keyed, **params)
        assert problem["type"] == f"https://uri.etsi.org/ngsi-ld/errors/{kind}", params
        assert problem["option"] == option, params
    assert (await refused(street.keyed, type=AIR, lang="fr"))["code"] == "unknown_parameter"
    for identifier in ("nonsense", f"urn:ngsi-ld:{AIR}:nobody", "urn:ngsi-ld:Cat:box-0001"):
        answer = await street.keyed.get(f"{ENTITIES}/{identifier}")
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("/ResourceNotFound")
