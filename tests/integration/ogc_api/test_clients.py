"""OWSLib, a published client, reads features and coverages over HTTP."""

import asyncio
import json
from typing import Any

import pytest
from covjson_pydantic.coverage import CoverageCollection
from fastapi import FastAPI
from owslib.ogcapi.edr import EnvironmentalDataRetrieval

from tests.integration.notifications.streams import serving
from tests.integration.ogc_api.conftest import ROOT
from tests.integration.sensorthings.conftest import VALUES, Street

# The client's own, of its dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")


def _walk(address: str, key: str) -> dict[str, Any]:
    service = EnvironmentalDataRetrieval(address, headers={"Authorization": f"Bearer {key}"})
    begun = service.data()[0]
    return {
        "conformance": service.conformance()["conformsTo"],
        "features": service.feature_collections(),
        "data": service.data(),
        "boxes": service.collection_items("boxes", limit=1),
        "place": service.collection_items("places")["features"][0],
        "collection": service.collection(begun),
        "values": service.query_data(begun, "position", coords="POINT(1.445317 43.604529)"),
    }


async def test_owslib_reads_features_and_coverages(application: FastAPI, street: Street) -> None:
    async with serving(application) as address:
        found = await asyncio.to_thread(_walk, address + ROOT, street.tenant.key)
    assert found["features"] == ["places", "boxes"]
    assert found["data"] == ["measurements", "hourly-means"]
    assert any(each.endswith("ogcapi-edr-1/1.1/conf/core") for each in found["conformance"])
    assert found["boxes"]["numberReturned"] == 1
    assert found["place"]["id"] == street.site_id
    assert set(found["collection"]["parameter_names"]) == {"pm2_5", "laeq"}
    values = CoverageCollection.model_validate_json(json.dumps(found["values"]))
    (coverage,) = values.coverages
    array: Any = coverage.ranges["pm2_5"]
    assert array.values == [10 + n / 10 for n in range(VALUES)]
