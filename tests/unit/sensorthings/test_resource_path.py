"""Paths of resources."""

import pytest

from app.platform.kernel.errors import NotFoundError
from app.sensorthings.resource_path import parse_resource_path


def test_a_chain_has_steps() -> None:
    path = parse_resource_path("/Things('12')/Datastreams(34)/Observations")
    assert [(step.link, step.identifier) for step in path.steps] == [
        ("Things", "12"),
        ("Datastreams", "34"),
        ("Observations", None),
    ]
    assert path.is_collection


def test_a_single_link_is_no_collection() -> None:
    path = parse_resource_path("Observations('1')/Datastream/Thing")
    assert not path.is_collection
    assert path.entity.name == "Thing"


def test_members_values_and_references() -> None:
    assert parse_resource_path("Things('1')/properties/box").members == ("properties", "box")
    assert parse_resource_path("Things('1')/name/$value").raw
    assert parse_resource_path("Things/$ref").references


@pytest.mark.parametrize(
    "path",
    [
        *("", "things", "Things('1", "Things/name", "Things/Datastreams", "Things('1')/Sensors", "$ref"),
        *("Things('1')/$value", "Things('1')/name/$ref", "Observations('1')/Datastream('2')", "A/" * 20),
    ],
)
def test_other_paths_do_not_exist(path: str) -> None:
    with pytest.raises(NotFoundError):
        parse_resource_path(path)
