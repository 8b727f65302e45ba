"""Pages: none misses or repeats an entity, also those of expansions, of CSV and of several Datastreams."""

import csv
from datetime import timedelta
from typing import Any

import pytest

from app.sensorthings import observation_collections
from tests.integration.sensorthings.conftest import ROOT, VALUES, Street, collect, get, record_calls, send


def ids(entities: list[Any]) -> list[str]:
    return [each["@iot.id"] for each in entities]


async def test_one_datastream_among_all_has_any_order(street: Street) -> None:
    stream = street.stream("box-0002", "pm2_5")
    for order in ("result desc", "result mod 3,result", "id"):
        found = await collect(
            street.keyed, "/Observations", filter=f"Datastream/id eq '{stream}'", orderby=order, top="40"
        )
        expected = await collect(street.keyed, f"/Datastreams('{stream}')/Observations", orderby=order)
        assert ids(found) == ids(expected)
        assert len(found) == VALUES


@pytest.mark.parametrize("name", ["phenomenonTime", "resultTime"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_hours_and_values_are_merged_by_either_time(street: Street, name: str, direction: str) -> None:
    order = f"{name} {direction}"
    found = await collect(street.keyed, "/Observations", orderby=order, top="70")
    times = [each[name].split("/")[0] for each in found]
    assert times == sorted(times, reverse=direction == "desc")
    assert ids(found) == ids((await get(street.keyed, "/Observations", orderby=order, top="5000"))["value"])
    assert len(set(ids(found))) == 4 * VALUES + 4 * 3
    skipped = await get(street.keyed, "/Observations", orderby=order, top="5", skip="123")
    assert ids(skipped["value"]) == ids(found[123:128])


async def test_a_merge_stores_only_its_page(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, observation_collections, "read_observations")
    condition = "Datastream/properties/aggregation eq null"
    body = await get(street.keyed, "/Observations", filter=condition, orderby="phenomenonTime desc", top="39")
    assert len(body["value"]) == 39
    # Four Datastreams with a value each minute: the first fills the page, the others have what is newer.
    assert [len(found) for _, found in calls] == [40, 40, 20, 14]


async def test_inner_links_continue_where_the_expansion_ends(street: Street) -> None:
    stream = street.stream("box-0001", "laeq")
    body = await get(
        street.keyed,
        f"/Datastreams('{stream}')",
        expand="Observations($top=4;$filter=result gt 52;$count=true)",
    )
    whole = await collect(street.keyed, f"/Datastreams('{stream}')/Observations", filter="result gt 52")
    rest = await collect(street.keyed, body["Observations@iot.nextLink"])
    assert [each["@iot.id"] for each in (*body["Observations"], *rest)] == [each["@iot.id"] for each in whole]
    assert body["Observations@iot.count"] == len(whole)


async def test_inner_links_continue_after_the_last_entity(street: Street) -> None:
    stream = street.stream("box-0001", "pm2_5")
    order = "$orderby=phenomenonTime desc"
    body = await get(street.keyed, f"/Datastreams('{stream}')", expand=f"Observations({order};$top=4)")
    feature = await get(
        street.keyed,
        f"/FeaturesOfInterest('{street.numbers['box-0001']}')",
        expand=f"Observations({order};$top=4;$filter=Datastream/id eq '{stream}')",
    )
    time = street.begins + timedelta(minutes=VALUES)
    await send(street.keyed, "box-0001", [{"time": time.isoformat(), "values": {"pm2_5": 99}}])
    expected = [10 + n / 10 for n in range(VALUES)][::-1]
    for entity in (body, feature):
        rest = await collect(street.keyed, entity["Observations@iot.nextLink"])
        assert [each["result"] for each in (*entity["Observations"], *rest)] == expected


@pytest.mark.parametrize("skip", [0, 1, 3])
async def test_expanded_entities_are_whole_pages(street: Street, skip: int) -> None:
    path = f"/Things('{street.numbers['box-0002']}')"
    whole = await collect(street.keyed, f"{path}/Datastreams", orderby="name desc")
    body = await get(
        street.keyed, path, expand=f"Datastreams($orderby=name desc;$top=2;$skip={skip};$count=true)"
    )
    rest = await collect(street.keyed, body["Datastreams@iot.nextLink"]) if skip < 2 else []
    found = [*body["Datastreams"], *rest]
    assert [each["@iot.id"] for each in found] == [each["@iot.id"] for each in whole[skip:]]
    assert ("Datastreams@iot.nextLink" in body) == (skip < 2)
    assert body["Datastreams@iot.count"] == len(whole) == 4
    beyond = await get(street.keyed, path, expand="Datastreams($skip=9;$count=true)")
    assert (beyond["Datastreams"], beyond["Datastreams@iot.count"]) == ([], 4)
    none = await get(street.keyed, path, expand="Datastreams($top=0;$count=true)")
    assert (none["Datastreams"], none["Datastreams@iot.count"]) == ([], 4)
    assert "Datastreams@iot.nextLink" not in none


async def test_csv_links_to_the_next_page(street: Street) -> None:
    path = f"{ROOT}/Datastreams?$select=name&$top=3&$resultFormat=csv"
    lines, pages = [], 0
    while path:
        answer = await street.keyed.get(path)
        lines += [line for (line,) in list(csv.reader(answer.text.splitlines()))[1:]]
        pages += 1
        path = answer.links.get("next", {}).get("url", "")
    assert pages == 3
    assert lines == [each["name"] for each in await collect(street.keyed, "/Datastreams")]
    expanded = await street.keyed.get(
        f"{ROOT}/Things?$select=name&$expand=Datastreams($select=name;$top=3)&$resultFormat=csv"
    )
    header, first, *_ = expanded.text.split("\r\n")
    assert header == "name,Datastreams,Datastreams@iot.nextLink"
    assert "skipToken" in first


@pytest.mark.parametrize(
    ("name", "bound"), [("MOST_WITHOUT_RESULT", 1), ("LONGEST_SEARCH_S", 0.0)], ids=["datastreams", "time"]
)
async def test_a_search_without_result_ends_early_and_continues(
    street: Street, monkeypatch: pytest.MonkeyPatch, name: str, bound: float
) -> None:
    condition = "result gt 24 and result lt 30"
    whole = await collect(street.keyed, "/Observations", filter=condition)
    assert len(whole) == 2 * 9
    monkeypatch.setattr(observation_collections, name, bound)
    body = await get(street.keyed, "/Observations", filter=condition, top="4")
    found, pages = list(body["value"]), [len(body["value"])]
    while "@iot.nextLink" in body:
        body = await get(street.keyed, body["@iot.nextLink"])
        found += body["value"]
        pages.append(len(body["value"]))
    assert [each["@iot.id"] for each in found] == [each["@iot.id"] for each in whole]
    assert 0 in pages
    left = await get(street.keyed, "/Observations", filter=condition, skip="15")
    assert [each["@iot.id"] for each in left["value"]][:1] == [whole[15]["@iot.id"]]
