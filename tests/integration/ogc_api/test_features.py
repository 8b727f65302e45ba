"""Collections, places and boxes as features, their pages and filters."""

from datetime import timedelta

from geojson_pydantic import FeatureCollection
from sqlalchemy import Engine, event

from app.ogc_api.collection_descriptions import COLLECTIONS, CONFORMANCE
from tests.integration.ogc_api.conftest import ITEMS, ROOT, read, refused
from tests.integration.sensorthings.conftest import EXACT, VALUES, Street


async def test_the_landing_page_leads_to_everything(street: Street) -> None:
    page = await read(street.keyed, ROOT)
    links = {each["rel"]: each["href"] for each in page["links"]}
    assert (await read(street.keyed, links["self"])) == page
    assert (await read(street.keyed, links["conformance"]))["conformsTo"] == list(CONFORMANCE)
    found = await read(street.keyed, links["data"])
    assert [each["id"] for each in found["collections"]] == list(COLLECTIONS)
    redirect = await street.keyed.get(links["service-desc"])
    assert redirect.status_code == 307
    assert redirect.headers["location"].endswith("/openapi.json")
    for each in found["collections"]:
        (own,) = (link["href"] for link in each["links"] if link["rel"] == "self")
        assert await read(street.keyed, own) == each


async def test_collections_share_their_reads(street: Street) -> None:
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        await read(street.keyed, f"{ROOT}/collections")
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    assert sum("sensorthings_series" in each for each in statements) == 1
    assert sum("min(sensorthings_boxes.longitude)" in each for each in statements) == 1


async def test_boxes_have_their_exact_places_and_latest_values(street: Street) -> None:
    found = await read(street.keyed, ITEMS)
    FeatureCollection.model_validate(found)
    assert (found["numberMatched"], found["numberReturned"]) == (2, 2)
    boxes = {each["properties"]["box"]: each for each in found["features"]}
    assert {box: tuple(each["geometry"]["coordinates"]) for box, each in boxes.items()} == EXACT
    newest = street.begins + timedelta(minutes=VALUES - 1)
    for box, each in boxes.items():
        assert each["id"] == street.register[box]
        properties = each["properties"]
        assert properties["pm2_5"] == 10 + (VALUES - 1) / 10
        assert properties["laeq"] == 50 + (VALUES - 1) % 7
        assert properties["time"] == newest.isoformat().replace("+00:00", "Z")
        one = await read(street.keyed, f"{ITEMS}/{each['id']}")
        assert one["properties"] == properties
        assert {link["rel"] for link in one["links"]} == {"self", "collection"}


async def test_places_are_sites(street: Street) -> None:
    found = await read(street.keyed, f"{ROOT}/collections/places/items")
    FeatureCollection.model_validate(found)
    (place,) = found["features"]
    site = (await street.keyed.get(f"/v1/sites/{street.site_id}")).json()
    assert place["id"] == street.site_id
    assert place["geometry"] == site["location"]
    assert place["properties"]["name"] == site["name"]
    assert place["properties"]["kind"] == site["kind"]
    one = await read(street.keyed, f"{ROOT}/collections/places/items/{street.site_id}")
    assert one["properties"] == place["properties"]


async def test_pages_follow_one_another(street: Street) -> None:
    seen: list[str] = []
    address: str | None = f"{ITEMS}?limit=1"
    while address is not None:
        page = await read(street.keyed, address)
        assert page["numberReturned"] == 1
        assert page["numberMatched"] == 2
        seen += [each["id"] for each in page["features"]]
        address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == sorted(street.register.values())
    assert (await read(street.keyed, ITEMS, limit="999999999"))["numberReturned"] == 2


async def test_a_rectangle_selects(street: Street) -> None:
    rectangles: dict[str, set[str]] = {
        "1.44,43.60,1.446,43.605": {"box-0001"},
        "1.44,43.60,0,1.446,43.605,100": {"box-0001"},
        "1.445317,43.604529,1.450143,43.610123": {"box-0001", "box-0002"},
        "170,43,-170,44": set(),
        "1.449,-90,1.0,90": {"box-0002"},
    }
    for bbox, expected in rectangles.items():
        found = await read(street.keyed, ITEMS, bbox=bbox)
        assert {each["properties"]["box"] for each in found["features"]} == expected, bbox
        assert found["numberMatched"] == len(expected), bbox


async def test_a_time_selects_what_was_there(street: Street) -> None:
    for path in (ITEMS, f"{ROOT}/collections/places/items"):
        assert (await read(street.keyed, path, datetime="2020-01-01T00:00:00Z"))["features"] == []
        assert (await read(street.keyed, path, datetime="../2020-01-01T00:00:00Z"))["features"] == []
        assert (await read(street.keyed, path, datetime="2020-01-01T00:00:00Z/.."))["features"] != []


async def test_a_fault_names_its_parameter(street: Street) -> None:
    faults = {
        "bbox": ("1,2,3", "1,2,3,x", "1,3,2,2", "1,2,3,1e3", "nan,2,3,4"),
        "datetime": (
            *("yesterday", "../..", "2026-01-02T00:00:00"),
            "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z",
        ),
        "limit": ("0", "ten"),
        "f": ("html",),
    }
    for option, values in faults.items():
        for value in values:
            problem = await refused(street.keyed, ITEMS, **{option: value})
            assert (problem["code"], problem["option"]) == ("invalid_option", option), value
    problem = await refused(street.keyed, ITEMS, filter="name")
    assert problem["code"] == "unknown_parameter"
    problem = await refused(street.keyed, f"{ROOT}/collections/places/items", after="no-site")
    assert (problem["code"], problem["option"]) == ("invalid_option", "after")


async def test_what_does_not_exist_is_404(street: Street) -> None:
    for path in (
        f"{ROOT}/collections/cats",
        f"{ROOT}/collections/cats/items",
        f"{ROOT}/collections/measurements/items",
        f"{ROOT}/collections/boxes/locations",
        f"{ITEMS}/000000000000",
        f"{ROOT}/collections/places/items/no-site",
        f"{ROOT}/collections/measurements/locations/000000000000",
    ):
        answer = await street.keyed.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
