"""Limits of queries: a refused one has read little more than the limit."""

from functools import partial

import pytest

from app.sensorthings import entity_expansion, query_grammar, resource_service
from app.sensorthings.entity_expansion import EntityExpander
from tests.integration.sensorthings.conftest import ROOT, VALUES, Street, collect, get, record_calls, refused


def limit_entities(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(resource_service, "EntityExpander", partial(EntityExpander, budget=most))


async def test_linked_entities_are_read_up_to_the_limit(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record_calls(monkeypatch, entity_expansion, "read_linked")

    def count_read() -> int:
        _, linked = calls.pop()
        return sum(len(each.entities) for each in linked.values())

    for options in ("$top=10", "$top=10;$count=true", "$skip=1;$count=true"):
        limit_entities(monkeypatch, 4)
        problem = await refused(street.keyed, "/Things", expand=f"Datastreams({options})")
        assert (problem["code"], problem["option"]) == ("query_too_large", "$expand")
        # Two Things leave two: the third shows that there are too many.
        assert 3 <= count_read() <= 5
    limit_entities(monkeypatch, 10)
    body = await get(street.keyed, "/Things", expand="Datastreams($count=true)")
    assert [thing["Datastreams@iot.count"] for thing in body["value"]] == [4, 4]
    assert count_read() == 8


async def test_observations_are_read_up_to_the_limit(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, entity_expansion, "read_observations")
    path = f"/Datastreams('{street.stream('box-0001', 'pm2_5')}')"
    limit_entities(monkeypatch, 21)
    problem = await refused(street.keyed, path, expand="Observations($top=10000)")
    assert problem["code"] == "query_too_large"
    assert [len(found) for _, found in calls] == [21]
    limit_entities(monkeypatch, VALUES + 1)
    body = await get(street.keyed, path, expand="Observations($top=10000)")
    assert len(body["Observations"]) == VALUES
    assert "Observations@iot.nextLink" not in body


async def test_an_entity_counts_each_time_that_it_appears(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Eight Datastreams, the property of each, its four Datastreams, the latest value of each of these.
    expansion = (
        "ObservedProperty($expand=Datastreams($expand=Observations($orderby=phenomenonTime desc;$top=1)))"
    )
    total = 8 + 8 + 8 * 4 + 8 * 4
    limit_entities(monkeypatch, total)
    body = await get(street.keyed, "/Datastreams", expand=expansion)
    assert sum(len(each["ObservedProperty"]["Datastreams"]) for each in body["value"]) == 8 * 4
    limit_entities(monkeypatch, total - 1)
    problem = await refused(street.keyed, "/Datastreams", expand=expansion)
    assert problem["code"] == "query_too_large"


async def test_the_longest_paths_are_answered(street: Street) -> None:
    # Six links of one path, and eight of a statement.
    path = f"{'Datastreams/Thing/' * 3}name"
    assert len(await collect(street.keyed, "/Things", filter=f"{path} eq 'Lamp 1'")) == 1
    paths = "Thing/Locations/name ne 'a' and Sensor/Datastreams/name ne 'a'"
    paths += " and ObservedProperty/Datastreams/Thing/name eq 'Lamp 2'"
    found = await collect(street.keyed, "/Datastreams", filter=paths, orderby="Sensor/name")
    assert len(found) == 8


async def test_limits_of_the_database_are_faults_of_the_query(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_grammar, "MOST_ORDER_ITEMS", 2_000)
    # PostgreSQL selects 1,664 columns at most.
    answer = await street.keyed.get(f"{ROOT}/Things?$orderby={','.join(['id'] * 1_700)}")
    assert (answer.status_code, answer.json()["code"]) == (400, "query_too_large")
