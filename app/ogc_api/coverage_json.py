"""Formats time series as CoverageJSON 1.0 and as CSV. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.catalogue.vocabularies import METRIC_DEFINITIONS, get_metric_unit
from app.ogc_api.feature_json import Row
from app.ogc_api.query_parameters import CRS84
from app.platform.kernel.instants import format_us
from app.timeseries.exports.text_formats import format_number

COVERAGE_MEDIA_TYPE: Final = "application/vnd.cov+json"
CSV_MEDIA_TYPE: Final = "text/csv; charset=utf-8"
UCUM: Final = "http://www.opengis.net/def/uom/UCUM/"
_REFERENCING: Final[Sequence[Mapping[str, Any]]] = (
    {"coordinates": ["x", "y"], "system": {"type": "GeographicCRS", "id": CRS84}},
    {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
)
_DIGITS: Final = 7


@dataclass(frozen=True, slots=True)
class BoxCoverage:
    """The values of a box.

    Attributes:
        row: the row of the box.
        values: by metric, in the order of the catalogue: times (µs since the epoch) with their values.
    """

    row: Row
    values: dict[str, dict[int, float]]

    @property
    def times(self) -> list[int]:
        """All times at which any of its metrics has a value, in order."""
        return sorted({time for values in self.values.values() for time in values})


def _describe_parameter(metric: str, base: str) -> dict[str, Any]:
    unit = get_metric_unit(metric)
    description = METRICS_BY_NAME[metric].description
    return {
        "type": "Parameter",
        "description": {"en": description},
        "unit": {"label": {"en": unit.name}, "symbol": {"value": unit.code, "type": UCUM}},
        "observedProperty": {"id": find_definition(metric, base), "label": {"en": description}},
    }


def find_definition(metric: str, base: str) -> str:
    """Return the address of a metric's definition: of a vocabulary, or of Vigie's own table."""
    return METRIC_DEFINITIONS[metric] or f"{base}/docs/guides/sensorthings#observed-properties"


def list_shown_metrics(coverages: Sequence[BoxCoverage]) -> list[str]:
    """List the metrics that any of the coverages has, in the order of the catalogue."""
    shown = {metric for each in coverages for metric in each.values}
    return [metric for metric in COLUMNS if metric in shown]


def build_coverage_collection(coverages: Sequence[BoxCoverage], base: str, locations: str) -> dict[str, Any]:
    """Build a collection with one coverage for each box.

    Args:
        coverages: the values of boxes.
        base: the absolute address of the installation.
        locations: the address to which the number of a box is added.
    """
    return {
        "type": "CoverageCollection",
        "domainType": "PointSeries",
        "parameters": {metric: _describe_parameter(metric, base) for metric in list_shown_metrics(coverages)},
        "referencing": _REFERENCING,
        "coverages": [_build_coverage(each, f"{locations}/{each.row['number']}") for each in coverages],
    }


def _build_coverage(coverage: BoxCoverage, identifier: str) -> dict[str, Any]:
    times = coverage.times
    return {
        "type": "Coverage",
        "id": identifier,
        "domain": {
            "type": "Domain",
            "domainType": "PointSeries",
            "axes": {
                "x": {"values": [round(coverage.row["longitude"], _DIGITS)]},
                "y": {"values": [round(coverage.row["latitude"], _DIGITS)]},
                "t": {"values": [format_us(time) for time in times]},
            },
        },
        "ranges": {
            metric: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["t"],
                "shape": [len(times)],
                "values": [values.get(time) for time in times],
            }
            for metric, values in coverage.values.items()
        },
    }


def format_csv(coverages: Sequence[BoxCoverage]) -> str:
    """Format coverages as CSV (RFC 4180): a line for each box and time, a column for each metric."""
    metrics = list_shown_metrics(coverages)
    lines = [",".join(("location", "longitude", "latitude", "time", *metrics))]
    for each in coverages:
        place = ",".join(format_number(round(each.row[name], _DIGITS)) for name in ("longitude", "latitude"))
        for time in each.times:
            cells = (each.values.get(metric, {}).get(time) for metric in metrics)
            texts = ("" if value is None else format_number(value) for value in cells)
            lines.append(",".join((each.row["number"], place, format_us(time), *texts)))
    return "\r\n".join([*lines, ""])
