"""Values by EDR: of a box, of the nearest one, of an area, as CoverageJSON and CSV."""

import csv
import io
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from covjson_pydantic.coverage import CoverageCollection
from edr_pydantic.collections import Collection
from geojson_pydantic import FeatureCollection
from shapely.geometry.base import BaseGeometry

from app.ogc_api import coverage_queries, edr_router
from app.platform.db.database import ReadSession
from app.sensorthings.box_places import find_boxes_within
from tests.integration.ogc_api.conftest import MEASUREMENTS, ROOT, read, refused
from tests.integration.sensorthings.conftest import EXACT, VALUES, Street, send

BOTH = "POLYGON((1.4 43.5,1.6 43.5,1.6 43.7,1.4 43.7,1.4 43.5))"


def instant(street: Street, minutes: int) -> str:
    return (street.begins + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


async def values(street: Street, path: str, **params: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Box → metric → time → value, from a checked coverage collection."""
    body = await read(street.keyed, f"{MEASUREMENTS}/{path}", **params)
    CoverageCollection.model_validate_json(json.dumps(body))
    numbers = {number: box for box, number in street.register.items()}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for each in body["coverages"]:
        box = numbers[each["id"].rsplit("/", 1)[-1]]
        axes = each["domain"]["axes"]
        assert (axes["x"]["values"][0], axes["y"]["values"][0]) == EXACT[box]
        times = axes["t"]["values"]
        found[box] = {
            metric: dict(zip(times, array["values"], strict=True)) for metric, array in each["ranges"].items()
        }
        assert set(each["ranges"]) <= set(body["parameters"])
    return found


async def test_a_location_has_all_values_of_its_box(street: Street) -> None:
    found = await values(street, f"locations/{street.register['box-0001']}")
    expected = {instant(street, n): 10 + n / 10 for n in range(VALUES)}
    assert found["box-0001"]["pm2_5"] == expected
    assert found["box-0001"]["laeq"] == {instant(street, n): 50 + n % 7 for n in range(VALUES)}


async def test_time_and_parameters_select(street: Street) -> None:
    found = await values(
        street,
        f"locations/{street.register['box-0001']}",
        datetime=f"{instant(street, 10)}/{instant(street, 12)}",
        parameter_name="pm2_5",
    )
    assert found == {"box-0001": {"pm2_5": {instant(street, n): 10 + n / 10 for n in (10, 11, 12)}}}
    one = await values(street, f"locations/{street.register['box-0001']}", datetime=instant(street, 7))
    assert one["box-0001"]["laeq"] == {instant(street, 7): 50.0}
    assert await values(street, f"locations/{street.register['box-0001']}", parameter_name="no2") == {}
    past = await values(
        street, f"locations/{street.register['box-0001']}", datetime="../2020-01-01T00:00:00Z"
    )
    assert past == {}


async def test_a_position_finds_the_nearest_box(street: Street) -> None:
    asked = {"datetime": instant(street, 3), "parameter_name": "pm2_5"}
    found = await values(street, "position", coords="POINT(1.4455 43.6050)", **asked)
    assert list(found) == ["box-0001"]
    found = await values(street, "position", coords="POINT(1.4495 43.6095)", crs="CRS84", **asked)
    assert list(found) == ["box-0002"]
    far = await street.keyed.get(f"{MEASUREMENTS}/position", params={"coords": "POINT(2 44)"})
    assert (far.status_code, far.json()["code"]) == (404, "not_found")
    # A height and a measure have no effect.
    for point in ("POINT Z (1.4495 43.6095 7)", "POINT M (1.4495 43.6095 7)", "POINT(1.4495 43.6095 7 8)"):
        assert list(await values(street, "position", coords=point, **asked)) == ["box-0002"], point


async def test_a_position_passes_over_boxes_without_the_metrics(street: Street) -> None:
    time = instant(street, VALUES)
    await send(street.keyed, "box-0002", [{"time": time, "values": {"no2": 21}}])
    at_the_other = {"coords": "POINT(1.445317 43.604529)", "datetime": time}
    found = await values(street, "position", parameter_name="no2", **at_the_other)
    assert found == {"box-0002": {"no2": {time: 21}}}
    asked = {**at_the_other, "parameter-name": "o3"}
    nobody = await street.keyed.get(f"{MEASUREMENTS}/position", params=asked)
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    assert "with such values" in nobody.json()["detail"]


async def test_a_position_reaches_across_the_180th_meridian(street: Street) -> None:
    place = {"type": "Point", "coordinates": [179.9999, -16.8]}
    (await street.keyed.patch("/v1/boxes/box-0001", json={"location": place})).raise_for_status()
    asked = {"datetime": instant(street, 3), "coords": "POINT(-179.9999 -16.8)"}
    body = await read(street.keyed, f"{MEASUREMENTS}/position", **asked)
    assert [each["id"].rsplit("/", 1)[-1] for each in body["coverages"]] == [street.register["box-0001"]]


async def test_answers_are_built_beside_the_event_loop(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formatting 100,000 values must not stop other requests of the process."""
    threads: list[threading.Thread] = []

    def note[**P, T](build: Callable[P, T]) -> Callable[P, T]:
        def noting(*args: P.args, **kwargs: P.kwargs) -> T:
            threads.append(threading.current_thread())
            return build(*args, **kwargs)

        return noting

    for name in ("build_coverage_collection", "format_csv"):
        monkeypatch.setattr(edr_router, name, note(getattr(edr_router, name)))
    for form in ("CoverageJSON", "CSV"):
        answer = await street.keyed.get(f"{MEASUREMENTS}/area", params={"coords": BOTH, "f": form})
        assert answer.status_code == 200
    assert len(threads) == 2
    assert threading.current_thread() not in threads


async def test_an_area_may_have_more_boxes_than_a_statement_has_parameters(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_many(session: ReadSession, area: BaseGeometry) -> list[int]:
        return [*await find_boxes_within(session, area), *range(1_000_000, 1_040_000)]

    monkeypatch.setattr(edr_router, "find_boxes_within", find_many)
    found = await values(street, "area", coords=BOTH, datetime=instant(street, 3))
    assert set(found) == set(EXACT)


async def test_an_area_has_all_its_boxes(street: Street) -> None:
    asked = {"datetime": instant(street, 3), "parameter_name": "laeq,pm2_5"}
    found = await values(street, "area", coords=BOTH, **asked)
    assert set(found) == set(EXACT)
    assert list(found["box-0001"]) == ["pm2_5", "laeq"]
    small = "MULTIPOLYGON(((1.44 43.6,1.446 43.6,1.446 43.605,1.44 43.605,1.44 43.6)))"
    assert list(await values(street, "area", coords=small, **asked)) == ["box-0001"]
    nowhere = "POLYGON((0 0,1 0,1 1,0 0))"
    assert await values(street, "area", coords=nowhere, **asked) == {}


async def test_hourly_means_are_those_of_readings(street: Street) -> None:
    body = await read(
        street.keyed,
        f"{ROOT}/collections/hourly-means/locations/{street.register['box-0001']}",
        parameter_name="pm2_5",
    )
    CoverageCollection.model_validate_json(json.dumps(body))
    (coverage,) = body["coverages"]
    readings = await street.keyed.get(
        "/v1/boxes/box-0001/readings",
        params={
            "metric": "pm2_5",
            "bucket": "1h",
            "from": street.begins.isoformat(),
            "to": (street.begins + timedelta(hours=3)).isoformat(),
        },
    )
    assert coverage["domain"]["axes"]["t"]["values"] == [instant(street, 60 * n) for n in range(3)]
    means = coverage["ranges"]["pm2_5"]["values"]
    assert means == pytest.approx([12.95, 18.95, 23.45])
    assert all(str(mean) in readings.text for mean in means)


async def test_csv_has_the_same_values(street: Street) -> None:
    asked = {"datetime": f"{instant(street, 0)}/{instant(street, 1)}", "f": "csv", "coords": BOTH}
    answer = await street.keyed.get(f"{MEASUREMENTS}/area", params=asked)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 4
    by_box = {row["location"] for row in rows}
    assert by_box == set(street.register.values())
    for row in rows:
        minute = 0 if row["time"] == instant(street, 0) else 1
        assert (row["pm2_5"], row["laeq"]) == (["10", "10.1"][minute], ["50", "51"][minute])


async def test_locations_lead_to_their_values(street: Street) -> None:
    found = await read(street.keyed, f"{MEASUREMENTS}/locations")
    FeatureCollection.model_validate(found)
    for each in found["features"]:
        properties = each["properties"]
        assert properties["parameter-name"] == ["pm2_5", "laeq"]
        assert properties["datetime"] == f"../{instant(street, VALUES - 1)}"
        body = await read(street.keyed, properties["edrqueryendpoint"], datetime=instant(street, 0))
        assert len(body["coverages"]) == 1
    assert {each["properties"]["label"] for each in found["features"]} == {"Lamp 1", "Lamp 2"}


async def test_a_location_without_values_has_a_valid_interval(street: Street) -> None:
    box = {"id": "box-0003", "site_id": street.site_id}
    (await street.keyed.post("/v1/boxes", json=box)).raise_for_status()
    found = await read(street.keyed, f"{MEASUREMENTS}/locations")
    FeatureCollection.model_validate(found)
    (silent,) = (each["properties"] for each in found["features"] if not each["properties"]["parameter-name"])
    assert silent["datetime"].endswith("/..")
    body = await read(street.keyed, silent["edrqueryendpoint"], datetime=silent["datetime"])
    assert body["coverages"] == []


async def test_of_boxes_at_one_place_the_first_one_is_the_nearest(street: Street, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE boxes SET longitude = 1.45, latitude = 43.61")
    # The first box is last by its id and by its place in the table, so that scans find the other one first.
    await owner.execute("UPDATE boxes SET id = 'zebra' WHERE id = 'box-0001'")
    order = "SELECT array_agg(id ORDER BY ctid) FROM boxes"
    while await owner.fetchval(order) != ["box-0002", "zebra"]:
        await owner.execute("UPDATE boxes SET name = name WHERE id = 'zebra'")
    await owner.close()
    found = await read(street.keyed, f"{MEASUREMENTS}/position", coords="POINT(1.45 43.61)")
    (coverage,) = found["coverages"]
    assert coverage["id"].endswith(street.register["box-0001"])


async def test_a_collection_describes_its_queries(street: Street) -> None:
    body = await read(street.keyed, MEASUREMENTS)
    assert body["extent"]["temporal"]["interval"] == [[None, instant(street, VALUES - 1)]]
    west, south, east, north = body["extent"]["spatial"]["bbox"][0]
    assert (west, south) == EXACT["box-0001"]
    assert (east, north) == EXACT["box-0002"]
    # The published schema allows an open begin, this model does not.
    del body["extent"]["temporal"]
    described = Collection.model_validate(body)
    assert set(described.parameter_names.root) == {"pm2_5", "laeq"}
    assert body["parameter_names"]["pm2_5"]["unit"]["symbol"]["value"] == "ug/m3"
    assert set(body["data_queries"]) == {"position", "area", "locations"}


async def test_a_fault_names_its_parameter(street: Street) -> None:
    faults: list[tuple[str, dict[str, str], str, str | None]] = [
        ("position", {}, "invalid_option", "coords"),
        ("position", {"coords": "POINT(1)"}, "invalid_geometry", "coords"),
        ("position", {"coords": BOTH}, "invalid_geometry", "coords"),
        ("area", {"coords": "POINT(1 2)"}, "invalid_geometry", "coords"),
        ("area", {"coords": "CURVEPOLYGON((0 0,1 1,1 0,0 0))"}, "invalid_geometry", "coords"),
        ("area", {"coords": "POLYGON((0 0,1 1,1 0,0 1,0 0))"}, "invalid_geometry", "coords"),
        ("area", {"coords": BOTH, "parameter_name": "cats"}, "invalid_option", "parameter-name"),
        ("area", {"coords": BOTH, "crs": "EPSG:2154"}, "invalid_option", "crs"),
        ("area", {"coords": BOTH, "f": "GRIB"}, "invalid_option", "f"),
        ("area", {"coords": BOTH, "z": "10"}, "unknown_parameter", None),
    ]
    for path, params, code, option in faults:
        problem = await refused(street.keyed, f"{MEASUREMENTS}/{path}", **params)
        assert (problem["code"], problem.get("option")) == (code, option), params


async def test_answers_are_bounded(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_queries, "MOST_VALUES", 2 * VALUES)
    number = street.register["box-0001"]
    await read(street.keyed, f"{MEASUREMENTS}/locations/{number}")
    problem = await refused(street.keyed, f"{MEASUREMENTS}/area", coords=BOTH)
    assert problem["code"] == "query_too_large"
    assert "datetime" in problem["detail"]
    monkeypatch.setattr(coverage_queries, "MOST_SERIES", 1)
    problem = await refused(street.keyed, f"{MEASUREMENTS}/locations/{number}")
    assert problem["code"] == "query_too_large"
    assert "parameter-name" in problem["detail"]
