"""Published clients walk everything over HTTP, and a published validator accepts each entity."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import frost_sta_client
import pytest
from fastapi import FastAPI

from tests.integration.notifications.streams import serving
from tests.integration.sensorthings.conftest import ROOT, VALUES, Street, collect

SCHEMAS: Final = Path(__file__).parents[2] / "data" / "sensorthings"
_SETS: Final = (
    *("things", "locations", "historical_locations", "datastreams", "sensors"),
    *("observed_properties", "observations", "features_of_interest"),
)
# The clients' own, of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")
_new_clients = pytest.mark.skipif(sys.version_info < (3, 13), reason="these clients need Python 3.13")


async def ids(street: Street) -> dict[str, set[str]]:
    """The ids of each entity set, as our own client finds them."""
    names = {
        "things": "Things",
        "locations": "Locations",
        "historical_locations": "HistoricalLocations",
        "datastreams": "Datastreams",
        "sensors": "Sensors",
        "observed_properties": "ObservedProperties",
        "observations": "Observations",
        "features_of_interest": "FeaturesOfInterest",
    }
    return {
        key: {each["@iot.id"] for each in await collect(street.anonymous, f"/{name}", top="500")}
        for key, name in names.items()
    }


def _walk_with_frost(url: str) -> tuple[dict[str, set[str]], Any]:
    service = frost_sta_client.SensorThingsService(url)
    found = {
        name: {str(each.id) for each in getattr(service, name)().query().top(200).list()} for name in _SETS
    }
    for thing in service.things().query().list():
        assert service.things().find(thing.id).name == thing.name
    expansion = "Observations($orderby=phenomenonTime desc;$top=1),Thing,ObservedProperty"
    return found, list(service.datastreams().query().expand(expansion).list())


async def test_frost_sta_client_walks_everything(application: FastAPI, street: Street) -> None:
    expected = await ids(street)
    async with serving(application) as address:
        found, streams = await asyncio.to_thread(_walk_with_frost, address + ROOT)
    assert found == expected
    for stream in streams:
        assert stream.thing.name
        assert len(stream.observations.entities) == 1
        assert isinstance(stream.observations.entities[0].result, float)


@_new_clients
async def test_aio_sensorthings_walks_everything(application: FastAPI, street: Street) -> None:
    from aio_sensorthings import STAClient  # noqa: PLC0415 (it needs Python 3.13)

    expected = await ids(street)
    async with (
        serving(application) as address,
        STAClient(address + ROOT.removesuffix("/v1.1")) as client,
    ):
        found = {
            name: {each["@iot.id"] for each in await client.get_all(set_name, top=90)}
            for name, set_name in (
                ("things", "Things"),
                ("datastreams", "Datastreams"),
                ("observations", "Observations"),
                ("features_of_interest", "FeaturesOfInterest"),
            )
        }
    assert found == {name: expected[name] for name in found}


def _walk_with_istsos(url: str) -> dict[str, set[str]]:
    import istsos4_client as istsos  # noqa: PLC0415 (it needs Python 3.13)

    kinds: dict[str, Any] = {
        "things": istsos.Thing,
        "locations": istsos.Location,
        "historical_locations": istsos.HistoricalLocation,
        "datastreams": istsos.Datastream,
        "sensors": istsos.Sensor,
        "observed_properties": istsos.ObservedProperty,
        "observations": istsos.Observation,
        "features_of_interest": istsos.FeatureOfInterest,
    }
    found = {}
    with istsos.Client(url) as client:
        for name, kind in kinds.items():
            entities = client.list(kind, top=200)
            found[name] = {str(each.iot_id) for each in entities}
            assert str(client.get(kind, entities[-1].iot_id).iot_id) == str(entities[-1].iot_id)
    return found


@_new_clients
async def test_istsos4_client_walks_everything(application: FastAPI, street: Street) -> None:
    expected = await ids(street)
    async with serving(application) as address:
        found = await asyncio.to_thread(_walk_with_istsos, address + ROOT)
    assert found == expected


async def test_the_schema_validator_accepts_each_entity(
    application: FastAPI, street: Street, tmp_path: Path
) -> None:
    expected = await ids(street)
    assert len(expected["observations"]) == 2 * VALUES + 2 * 3
    config = tmp_path / "config.yaml"
    config.write_text(f"schemas:\n  default_path: {SCHEMAS}\n  auto_discover: true\n")
    async with serving(application) as address:
        program = Path(sys.executable).parent / "ogc-sta-validate"
        words = (str(program), "-c", str(config), "--server-url", address + ROOT, "validate-all")
        written = tmp_path / "result.json"
        process = await asyncio.create_subprocess_exec(
            *words, "--output-format", "json", "--output-file", str(written), stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    result = json.loads(written.read_text())
    assert _failures(result) == [], result
    assert sum(map(len, expected.values())) <= _validated(result)


def _failures(result: Any) -> list[Any]:  # noqa: ANN401 (JSON)
    return [each for each in result["results"] if not each["isValid"]]


def _validated(result: Any) -> int:  # noqa: ANN401 (JSON)
    return int(result["summary"]["total_entities"])
