"""What queries of entities mean."""

import pytest

from app.catalogue.smart_data_models import AIR, DEVICE, MODEL_ATTRIBUTES, NOISE
from app.ngsi_ld.ngsi_ld_errors import BadRequestDataError
from app.ngsi_ld.query_parameters import (
    EntityId,
    EntityQuery,
    list_metrics,
    parse_entity_query,
    parse_simplified,
)


def test_ids() -> None:
    assert EntityId.parse("urn:ngsi-ld:Device:box-0001") == EntityId(DEVICE, "box-0001")
    for text in ("", "urn:ngsi-ld:Device:", "urn:ngsi-ld:Cat:1", "Device:box-0001", "urn:ngsi-ld:Device"):
        assert EntityId.parse(text) is None


def test_queries() -> None:
    assert parse_entity_query({"type": f"{DEVICE},{AIR}"}) == EntityQuery((AIR, DEVICE))
    found = parse_entity_query({"attrs": "pm25,LAeq", "limit": "1000", "offset": "5", "count": "true"})
    assert found.models == (AIR, NOISE, DEVICE)
    assert (found.limit, found.offset, found.count) == (1000, 5, True)
    assert list_metrics(found.attributes, AIR) == ["pm2_5"]
    assert list_metrics(found.attributes, NOISE) == ["laeq"]
    near = parse_entity_query(
        {"georel": "near;maxDistance==12.5", "geometry": "Point", "coordinates": "[1.5,43]"}
    ).geo
    assert near is not None
    assert (near.farthest_m, next(iter(near.geometry.coords))) == (12.5, (1.5, 43.0))


@pytest.mark.parametrize(
    "text", ["[[[0,0],[1,1],[1,0],[0,1],[0,0]]]", "[[]]", "[[[0,0]]]", "1", "", "[" * 7_000]
)
def test_areas_that_are_refused(text: str) -> None:
    with pytest.raises(BadRequestDataError) as caught:
        parse_entity_query({"georel": "within", "geometry": "Polygon", "coordinates": text})
    assert caught.value.extra["option"] == "coordinates"


def test_representations() -> None:
    assert [parse_simplified(text) for text in (None, "normalized", "keyValues", "simplified")] == [
        *(False, False, True, True)
    ]
    with pytest.raises(BadRequestDataError):
        parse_simplified("keyValues,sysAttrs")


def test_an_attribute_is_of_one_metric() -> None:
    names = [(each.model, each.name) for each in MODEL_ATTRIBUTES.values()]
    assert len(set(names)) == len(names)
