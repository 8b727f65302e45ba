"""Prepares sites, their boxes and their indices for pages. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.catalogue.metrics import CATALOGUE
from app.console.framework.metric_names import name_metric
from app.console.framework.page_translation import mark_text
from app.presentation.languages import Language
from app.presentation.typography import typeset_text

SITE_KINDS: Final[Mapping[str, str]] = {
    "street": mark_text("street"),
    "square": mark_text("square"),
    "park": mark_text("park"),
    "school": mark_text("school"),
    "office": mark_text("office"),
    "hospital": mark_text("hospital"),
    "industry": mark_text("industry"),
    "airport": mark_text("airport"),
    "home": mark_text("home"),
    "lab": mark_text("laboratory"),
}
"""Kinds of sites that have a name in each language; others are shown as they are."""
NO_INDEX_REASONS: Final[Mapping[str, str]] = {
    "no_data": mark_text("no values yet"),
    "metric_missing": mark_text("a metric is missing"),
    "coverage_too_low": mark_text("too few values"),
    "period_too_short": mark_text("period too short"),
    "period_too_long": mark_text("period too long"),
    "period_mixed": mark_text("mixed periods"),
}
"""Why an index has no value."""
_ACTIVITY: Final = frozenset({"silent", "refused", "never_heard"})


@dataclass(slots=True)
class SiteCounts:
    """The boxes of a site by state.

    Attributes:
        boxes: All of them.
        states: How many are in each state of `GET /v1/overview/boxes`.
    """

    boxes: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def quiet(self) -> int:
        """How many send nothing, or nothing that is accepted."""
        return sum(self.states[name] for name in _ACTIVITY)


def count_boxes_by_site(box_map: Mapping[str, Any] | None) -> dict[str, SiteCounts]:
    """Count boxes by site, from the columns of `GET /v1/overview/boxes`."""
    if box_map is None:
        return {}
    sites = [each["id"] for each in box_map["sites"]]
    found = {site: SiteCounts() for site in sites}
    for place, state in zip(box_map["site"], box_map["state"], strict=True):
        counts = found[sites[place]]
        counts.boxes += 1
        counts.states[box_map["states"][state]] += 1
    return found


def find_firing_by_site(overview: Mapping[str, Any] | None) -> dict[str, dict[str, int]]:
    """Return the numbers of firing alerts by site and severity, from `GET /v1/overview`."""
    if overview is None:
        return {}
    return {
        each["site_id"]: {
            severity: each["firing"][severity]
            for severity in ("critical", "warning", "info")
            if each["firing"][severity]
        }
        for each in overview["sites"]
    }


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The latest value of a metric.

    Attributes:
        metric: The metric.
        symbol: Its short name.
        value: The value.
        unit: Its unit.
        time: When it was measured.
    """

    metric: str
    symbol: str
    value: float
    unit: str
    time: str


def list_latest_values(latest: Mapping[str, Any] | None, language: Language) -> list[LatestValue]:
    """List the latest values of a box in the order of the catalogue."""
    if latest is None:
        return []
    values, times = latest["values"], latest["times"]
    return [
        LatestValue(
            each.name, name_metric(each.name, language), values[each.name], each.unit, times[each.name]
        )
        for each in CATALOGUE
        if each.name in values
    ]


@dataclass(frozen=True, slots=True)
class IndexBadge:
    """An index of a site, of the box that is worst.

    Attributes:
        title: The title of the method.
        symbol: The metric, if the method is of one; empty: of several.
        value: The value; None: there is none.
        unit: Its unit.
        band: The label of its class; empty: it has none.
        colour: The colour of the class, as `#rrggbb`; empty: it has none.
        coverage: The share of the period with values, in percent.
        exceeded: Whether a limit is exceeded; None: there is no limit.
        limit: The limit; None: there is none.
        box: The box.
        end: The end of the period.
        reason: Why there is no value; empty: there is one.
        citation: The source of the method.
    """

    title: str
    symbol: str
    value: float | None
    unit: str
    band: str
    colour: str
    coverage: float
    exceeded: bool | None
    limit: float | None
    box: str
    end: str
    reason: str
    citation: str


def list_index_badges(indices: Mapping[str, Any] | None, language: Language) -> list[IndexBadge]:
    """Choose one result of each method and metric: of the worst box, else of the box with most values."""
    if indices is None:
        return []
    worst = {(each["method"], each["metric"]): each["box"] for each in indices["worst"]}
    chosen: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    for result in indices["data"]:
        key = (result["method"], result["metric"])
        present = chosen.get(key)
        is_worst = result["box"] == worst.get(key)
        if present is None or is_worst or (key not in worst and result["coverage"] > present["coverage"]):
            chosen[key] = result
    badges = [_make_badge(each, language) for each in chosen.values()]
    # Values first; a method that no box can compute says why, at the end.
    return sorted(badges, key=lambda each: each.value is None)


def _make_badge(result: Mapping[str, Any], language: Language) -> IndexBadge:
    band = result["band"] or {}
    metric = result["metric"]
    return IndexBadge(
        title=typeset_text(result["title_fr" if language == "fr" else "title"], language),
        symbol="" if metric is None else name_metric(metric, language),
        value=result["value"],
        unit=result["unit"],
        band=typeset_text(band.get("label_fr" if language == "fr" else "label", ""), language),
        colour=band.get("colour") or "",
        coverage=result["coverage"],
        exceeded=result["exceeded"],
        limit=result["limit"],
        box=result["box"],
        end=result["period"]["end"],
        reason="" if result["value"] is not None else NO_INDEX_REASONS.get(result["reason"] or "", ""),
        citation=result["citation"]["text"],
    )


def sort_purposes(purposes: Iterable[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """List declared purposes, those that need something first."""
    order = {"incomplete": 0, "awaiting_approval": 0, "active": 1, "upcoming": 2, "ended": 3}
    declared = [each for each in purposes if each["state"] in order]
    return sorted(declared, key=lambda each: order[each["state"]])
