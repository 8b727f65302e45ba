"""Rehearses QGIS on SensorThings: `make rehearse-qgis`.

Private services have a city of boxes whose air quality is open data. QGIS of Debian loads Locations,
features, Things, Datastreams and Observations without a key and without a display, within an extent, and
draws them. It takes a minute.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.stack import BenchStack, stack
from simulators.rest_client import ApiClient
from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages

_LAYERS: Final = Path(__file__).with_name("qgis_layers.py")
_PYTHON: Final = "/usr/bin/python3"
_BOXES: Final = 30
_INSIDE: Final = 24
_MINUTES: Final = 120
_EXTENT: Final = (1.40, 43.58, 1.48, 43.62)
_OPEN: Final = """
UPDATE site_purposes SET open_data = true, declared_kind = 'key', legal_basis = 'public_task',
    declared_by = gen_random_uuid() WHERE purpose = 'air_quality'
"""
_ROOT: Final = "/sensorthings/v1.1"


async def _fill(client: ApiClient, database: str) -> None:
    """Register boxes, of which some lie outside of the extent, and send samples of two hours."""
    west, south, east, north = _EXTENT
    place = {"type": "Point", "coordinates": [1.44, 43.6]}
    site = {"name": "Toulouse", "kind": "street", "timezone": "Europe/Paris", "location": place}
    site_id = (await client.post("/v1/sites", site))["id"]
    begins = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=_MINUTES)
    for number in range(_BOXES):
        column, row = number % 6, number // 6
        longitude = west + 0.01 + column * (east - west) / 6.5
        latitude = south + 0.005 + row * (north - south) / 4
        located = {"type": "Point", "coordinates": [round(longitude, 5), round(latitude, 5)]}
        box = {"id": f"box-{number:04d}", "site_id": site_id, "interval_s": 60, "location": located}
        await client.post("/v1/boxes", box)
        samples = [
            {
                "time": (begins + timedelta(minutes=minute)).isoformat(),
                "values": {"pm2_5": 5 + number + minute % 5, "laeq": 55.5},
            }
            for minute in range(_MINUTES)
        ]
        await client.post("/v1/telemetry", {"box": box["id"], "samples": samples})
    connection = await asyncpg.connect(database)
    await connection.execute(_OPEN)
    await connection.close()


async def _load(root: str, picture: Path) -> dict[str, Any]:
    extent = ",".join(map(str, _EXTENT))
    process = await asyncio.create_subprocess_exec(
        _PYTHON,
        # Without the script's folder: this module would be taken for QGIS's package.
        "-P",
        str(_LAYERS),
        root,
        extent,
        str(picture),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": ""},
    )
    printed, errors = await asyncio.wait_for(process.communicate(), 300)
    lines = [line for line in printed.decode().splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise RehearsalError(f"QGIS failed ({process.returncode}):\n{errors.decode()[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _check(found: dict[str, Any]) -> None:
    """Refuse layers that are not valid or lack features."""
    expected = {
        "Location": _INSIDE,
        "FeatureOfInterest": _INSIDE,
        # Raw and hourly, of the metric that is open. QGIS 3.40 has no geometry of Datastreams.
        "Datastream": 2 * (_INSIDE if found["Datastream"]["spatial"] else _BOXES),
        "Thing": _BOXES,
        "Location to Observation": 2 * _INSIDE,
    }
    for name, count in expected.items():
        layer = found[name]
        if not layer["valid"] or layer["features"] != count:
            raise RehearsalError(f"{name}: {layer['features']} features instead of {count}: {layer['error']}")
    least = _BOXES * _MINUTES
    if found["Observation"]["features"] < least:
        raise RehearsalError(f"Observation: {found['Observation']['features']} features, not {least}.")


async def _rehearse(running: BenchStack, picture: Path, report: RehearsalReport) -> None:
    database = await running.database("qgis")
    settings = {"VIGIE_API__ANONYMOUS_RATE_PER_S": "0", "VIGIE_SENSORTHINGS__ANONYMOUS": "true"}
    async with running.api_role(database, **settings) as (client, _):
        await _fill(client, database)
        found = await _load(client.address + _ROOT, picture)
    for name, layer in found.items():
        report.say(f"{name}: {layer['features']} features; the first: {layer['first']}")
    _check(found)


async def main(picture: Path) -> int:
    """Run the rehearsal; returns the exit status."""
    report = RehearsalReport()
    if shutil.which("qgis") is None:
        with report.step("Install QGIS"):
            install_packages(["qgis", "python3-qgis"])
    async with stack() as running:
        with report.step("Load SensorThings in QGIS") as note:
            await _rehearse(running, picture, report)
            note(f"drew {picture}")
    return report.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path("docs/img/sensorthings-qgis.png"))
    try:
        sys.exit(asyncio.run(main(parser.parse_args().picture)))
    except RehearsalError:
        sys.exit(1)
