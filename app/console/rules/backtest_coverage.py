"""Prepares on how much data a back-test rests, for its page. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.console.framework.metric_names import name_metric
from app.presentation.local_formatter import LocalFormatter

_SCANT: Final = 0.1
_NEARLY_ALL: Final = 0.95


@dataclass(frozen=True, slots=True)
class SeenValues:
    """The values of a metric that a rule was tried on, as texts.

    Attributes:
        name: The metric.
        lowest, highest: The extremes.
        thresholds: What they were compared with; empty: something else than a value.
    """

    name: str
    lowest: str
    highest: str
    thresholds: str


@dataclass(frozen=True, slots=True)
class BacktestCoverage:
    """The data that a back-test rests on.

    Attributes:
        duration_s: The time with values, of the box that has most.
        is_scant: Whether it is too little to conclude anything from.
        is_nearly_all: Whether it is all but a few samples.
        boxes: The boxes with values.
        boxes_without: Those without any.
        seen: The values.
    """

    duration_s: float
    is_scant: bool
    is_nearly_all: bool
    boxes: int
    boxes_without: int
    seen: tuple[SeenValues, ...]


def describe_coverage(
    found: Mapping[str, Any], titles: Mapping[str, tuple[str, str]], formatter: LocalFormatter
) -> BacktestCoverage | None:
    """Prepare the coverage of a back-test; None if it has no result, or depends on no values.

    Args:
        found: The back-test, as the API returns it.
        titles: The titles and units of indices by name.
        formatter: The language.
    """
    coverage = (found["result"] or {}).get("coverage")
    if coverage is None:
        return None
    span = datetime.fromisoformat(found["to"]) - datetime.fromisoformat(found["from"])
    longest = coverage["longest_s"] / span.total_seconds()
    return BacktestCoverage(
        coverage["longest_s"],
        longest < _SCANT,
        coverage["share"] >= _NEARLY_ALL,
        coverage["boxes_with_values"],
        coverage["boxes"] - coverage["boxes_with_values"],
        tuple(_describe_values(each, titles, formatter) for each in coverage["measured"]),
    )


def _describe_values(
    measured: Mapping[str, Any], titles: Mapping[str, tuple[str, str]], formatter: LocalFormatter
) -> SeenValues:
    name = measured["name"]
    if name in METRICS_BY_NAME:
        title, unit = name_metric(name, formatter.language), METRICS_BY_NAME[name].unit
    else:
        title, unit = titles.get(name, (name, "1"))
    return SeenValues(
        title,
        formatter.measured(measured["lowest"], unit),
        formatter.measured(measured["highest"], unit),
        ", ".join(formatter.limit(each, unit) for each in measured["thresholds"]),
    )
