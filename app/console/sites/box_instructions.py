"""Writes the shell lines by which a box sends its first sample. Pure."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.catalogue.metrics import CATALOGUE

_DEFAULT: Final = ("temperature",)
_EXAMPLES: Final[Mapping[str, float]] = {
    "pm1": 4.1,
    "pm2_5": 8.6,
    "pm4": 11.2,
    "pm10": 17.4,
    "no": 6.0,
    "no2": 24.0,
    "o3": 61.0,
    "so2": 3.2,
    "co": 0.3,
    "co2": 620,
    "tvoc": 140,
    "h2s": 1.2,
    "nh3": 12.0,
    "hcho": 9.0,
    "benzene": 0.8,
    "temperature": 21.5,
    "humidity": 48.0,
    "pressure": 1013.2,
    "illuminance": 350,
    "laeq": 58.2,
    "lamax": 71.4,
    "lcpeak": 84.0,
    "la10": 61.5,
    "la50": 56.0,
    "la90": 49.8,
    "odour": 4.0,
    "battery": 92,
    "rssi": -71,
}
"""Ordinary values of metrics, in their units."""


def choose_measured(names: Sequence[str]) -> list[str]:
    """Choose the metrics of an example from those that a person named, in the order of the catalogue."""
    return [each.name for each in CATALOGUE if each.name in names] or list(_DEFAULT)


def _write_sample(metrics: Sequence[str]) -> str:
    values = json.dumps({name: _EXAMPLES[name] for name in choose_measured(metrics)})
    return f"""{{"time": "'$(date -u +%FT%TZ)'", "values": {values}}}"""


def write_mqtt_line(
    mqtt: Mapping[str, Any], box: str, password: str | None, metrics: Sequence[str] = _DEFAULT
) -> str:
    """Write the `mosquitto_pub` line of a box.

    Args:
        mqtt: The address, as `GET /v1/connection` returns it.
        box: The box's id.
        password: Its password; None: unknown, and the line has a variable instead.
        metrics: What the box measures.
    """
    words = ["mosquitto_pub", "-h", shlex.quote(mqtt["host"]), "-p", str(mqtt["port"])]
    if mqtt["tls"]:
        words += ["--cafile", "ca.pem"]
    if mqtt["authentication"] != "password":
        words += ["--cert", "box.pem", "--key", "box-key.pem"]
    if mqtt["authentication"] != "identity":
        words += ["-u", box, "-P", '"$PASSWORD"' if password is None else shlex.quote(password)]
    command = " ".join([*words, "-q", "1"])
    return f"{command} \\\n  -t vigie/v1/{box}/telemetry \\\n  -m '{_write_sample(metrics)}'"


def write_http_line(url: str, box: str, key: str | None = None, metrics: Sequence[str] = _DEFAULT) -> str:
    """Write the `curl` line that sends a sample of a box.

    Args:
        url: The base URL of the API.
        box: The box's id.
        key: An API key with the scope `telemetry:write`; None: the line has a variable instead.
        metrics: What the box measures.
    """
    bearer = '"Authorization: Bearer $API_KEY"' if key is None else f"'Authorization: Bearer {key}'"
    return (
        f"curl -sS {shlex.quote(f'{url}/v1/telemetry')} -H {bearer} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"""  -d '{{"box": "{box}", "samples": [{_write_sample(metrics)}]}}'"""
    )
