"""Makes inputs of reports as the API process would, and parses rendered pages."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any
from xml.etree.ElementTree import Element
from zoneinfo import ZoneInfo

import numpy as np
import tinyhtml5

from app.environmental_indices.period_selection import DatedPeriod
from app.platform.kernel.instants import HOUR_US
from app.reports.report_input import (
    AlertStatistics,
    FlagCounts,
    HourlySummaries,
    ReportAlert,
    ReportBoxInput,
    ReportInput,
    ReportLanguage,
    ReportLength,
)
from app.timeseries.rollups.rollup_merging import RollupColumns

PARIS = ZoneInfo("Europe/Paris")
INTERVAL_S = 300
_LEAD_H = 24 * 32
FIGURES: list[tuple[str, str | None]] = [
    *[(name, None) for name in ("eaqi", "atmo", "who-o3-8h", "leq", "lden-day", "humidex")],
    *[("who-24h", metric) for metric in ("pm2_5", "pm10", "no2")],
]
ROOM: list[tuple[str, str | None]] = [
    (name, None) for name in ("indoor-co2", "mite-risk", "mould-index", "thermal-comfort", "light")
]
LEVELS = {
    "pm2_5": 9.0,
    "pm10": 16.0,
    "no2": 22.0,
    "o3": 60.0,
    "laeq": 58.0,
    "temperature": 12.0,
    "humidity": 70.0,
}
_ROOM = {"co2": 700.0, "temperature": 21.0, "humidity": 55.0, "illuminance": 320.0}
ALERTS = AlertStatistics(
    {"info": 3, "warning": 5, "critical": 1},
    before=7,
    went_on=2,
    firing=1,
    acknowledged=4,
    waited_s=340.0,
    longest_wait_s=3_725.0,
    longest=[ReportAlert("Fine particles", "critical", "box-0000", 0, 4 * HOUR_US)],
)


def hours(metric: str, slot: DatedPeriod, level: float, seed: int) -> HourlySummaries:
    """Means of hours about a level, from the period before on."""
    start = slot.period.start_us // HOUR_US * HOUR_US - _LEAD_H * HOUR_US
    times = np.arange(start, slot.period.end_us + 8 * HOUR_US, HOUR_US)
    chance = np.random.default_rng(seed)
    values = np.round(level * chance.uniform(0.6, 1.4, len(times)), 1)
    counts = np.full(len(times), 3_600 // INTERVAL_S)
    return HourlySummaries.of(metric, RollupColumns(times, counts, values, values * 0.8, values * 1.2))


def box(
    number: int, slot: DatedPeriod, *, name: str | None = None, inside: bool = False, silent: bool = False
) -> ReportBoxInput:
    levels = {} if silent else _ROOM if inside else LEVELS
    measured = [
        hours(metric, slot, level, 31 * number + place)
        for place, (metric, level) in enumerate(levels.items())
    ]
    figures = [] if silent else ROOM if inside else FIGURES
    return ReportBoxInput(f"box-{number:04d}", name, INTERVAL_S, measured, figures, [])


def make_report_input(
    *,
    length: ReportLength = "day",
    language: ReportLanguage = "en",
    first: date | None = None,
    boxes: int = 2,
    box_name: str | None = None,
    site: str = "Rue d'Alsace-Lorraine",
    inside: bool = False,
    silent: Sequence[int] = (),
    alerts: AlertStatistics | None = ALERTS,
    **more: Any,  # noqa: ANN401 (fields of Material)
) -> ReportInput:
    start = first or date(2026, 10, 1)
    last = start if length == "day" else date(2026, 10, 31)
    slot = DatedPeriod.of_days(start, last, PARIS)
    fields: dict[str, Any] = {
        "organisation": "Ville démo",
        "kind": "office" if inside else "street",
        "flags": FlagCounts(1_200, {"out_of_range": 0, "spike": 2, "flat_line": 0, "warm_up": 0, "late": 1}),
        "odours_left_out": False,
        **more,
    }
    return ReportInput(
        length=length,
        first=start,
        last=last,
        timezone="Europe/Paris",
        latitude=43.6,
        country="FR",
        site=site,
        language=language,
        form="html",
        made_us=slot.period.end_us + 10 * 24 * HOUR_US,
        boxes=[box(each, slot, name=box_name, inside=inside, silent=each in silent) for each in range(boxes)],
        alerts=alerts,
        **fields,
    )


def parsed(html: str) -> Element:
    """A page as a tree, without namespaces."""
    root: Element = tinyhtml5.parse(html, namespace_html_elements=False)
    for each in root.iter():
        if isinstance(each.tag, str):
            each.tag = each.tag.rpartition("}")[2]
    return root


def text(node: Element) -> str:
    """All that stands in a part of a page, on one line."""
    return re.sub(r"\s+", " ", "".join(node.itertext())).strip()


def tables(root: Element) -> dict[str, list[dict[str, str]]]:
    """The tables by caption; each row by the column's head."""
    found: dict[str, list[dict[str, str]]] = {}
    for each in root.iter("table"):
        caption = each.find("caption")
        if caption is None:
            continue
        head = [text(cell) for cell in each.iterfind("thead/tr/th")]
        rows = [[text(cell) for cell in row] for row in each.iterfind("tbody/tr")]
        found[text(caption)] = [dict(zip(head, row, strict=False)) for row in rows]
    return found


def sections(root: Element) -> dict[str, Element]:
    """The sections of a page, by their class."""
    return {each.get("class", ""): each for each in root.iter("section")}
