"""Ids: they are texts of digits, and can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS
from app.catalogue.sensorthings_ids import make_box_id, make_datastream_id, make_observation_id
from app.platform.kernel.instants import EARLIEST_US, LATEST_US
from app.sensorthings.entity_model import (
    ENTITY_TYPES,
    DatastreamId,
    ObservationId,
    get_target,
    is_collection,
    parse_box_id,
)

_NUMBERS = st.integers(0, 16**12 - 1).map(lambda number: f"{number:012x}")


@given(_NUMBERS, st.sampled_from(COLUMNS), st.booleans(), st.integers(EARLIEST_US, LATEST_US - 1))
def test_ids_are_read_back(number: str, metric: str, hourly: bool, time_us: int) -> None:  # noqa: FBT001 (hypothesis)
    assert parse_box_id(make_box_id(number)) == number
    stream = make_datastream_id(number, metric, hourly=hourly)
    assert DatastreamId.parse(stream) == (number, metric, hourly)
    observation = make_observation_id(stream, time_us)
    assert observation.isdigit()
    assert ObservationId.parse(observation) == (stream, time_us)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²", "9" * 16, "9" * 50])
def test_what_is_no_id_is_of_nobody(text: str) -> None:
    assert parse_box_id(text) is None


@pytest.mark.parametrize("text", ["", "1", "12", "1999", "1-pm2_5", "1x02"])
def test_what_is_no_id_is_no_datastream(text: str) -> None:
    assert DatastreamId.parse(text) is None


def test_each_link_leads_back() -> None:
    for entity in ENTITY_TYPES.values():
        for link in entity.links:
            target = get_target(entity, link)
            assert entity.name in target.links.values(), (entity.name, link)
            assert is_collection(link) == (link not in ENTITY_TYPES), link
