"""Formats results as data arrays and CSV. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

_HIDDEN: Final = ("@iot.navigationLink", "@iot.selfLink", "@iot.count")
COMPONENTS: Final = ("id", "phenomenonTime", "resultTime", "result", "resultQuality")
"""Components of a data array, if `$select` names none."""


def build_data_arrays(
    root: str, observations: Sequence[tuple[str, Mapping[str, Any]]], select: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Group Observations by Datastream as data arrays.

    Args:
        root: The service root.
        observations: The id of the Datastream, and the JSON, of each.
        select: The components; None: all that an Observation has.
    """
    names = tuple(select or (name for name in COMPONENTS if name == "id" or _any_has(observations, name)))
    groups: dict[str, list[list[Any]]] = {}
    for datastream, observation in observations:
        values = {**observation, "id": observation.get("@iot.id")}
        groups.setdefault(datastream, []).append([values.get(name) for name in names])
    return [
        {
            "Datastream@iot.navigationLink": f"{root}/Datastreams('{datastream}')",
            "components": list(names),
            "dataArray@iot.count": len(rows),
            "dataArray": rows,
        }
        for datastream, rows in groups.items()
    ]


def _any_has(observations: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> bool:
    return any(name in observation for _, observation in observations)


def format_csv(entities: Sequence[Mapping[str, Any]]) -> str:
    """Format entities as CSV (RFC 4180): a line for each, members of objects as `properties/box`.

    Expanded single entities are columns too, such as `Datastream/name`; expanded collections are JSON, and
    the links to the rest of them are columns such as `Datastreams@iot.nextLink`.
    """
    rows = [_flatten(entity) for entity in entities]
    header = list(dict.fromkeys(name for row in rows for name in row))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([[_cell(row.get(name)) for name in header] for row in rows])
    return written.getvalue()


def _flatten(entity: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in entity.items():
        if name.endswith(_HIDDEN):
            continue
        column = prefix + name.removeprefix("@iot.")
        if isinstance(value, Mapping) and "coordinates" not in value:
            found |= _flatten(value, f"{column}/")
        else:
            found[column] = value
    return found


def _cell(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, str) and value[:1] in _FORMULA:
        # A spreadsheet would compute it.
        return f"'{value}"
    return value


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
