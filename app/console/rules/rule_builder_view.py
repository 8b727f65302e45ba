"""Reads the choices that the builder of rules offers: sites, boxes, metrics, indices."""

from collections.abc import Mapping
from typing import Any

from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.site_choices import list_site_options, list_sites
from app.console.rules import rule_options
from app.console.rules.rule_drafts import SENTENCE_MODE, RuleDraft
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id

_BOXES = 200


async def build_choices(visit: ConsoleVisit, draft: RuleDraft) -> Mapping[str, Any]:
    """Return the choices of the form for a draft, by name; only the sites for a draft as JSON."""
    choices: dict[str, Any] = {"sites": list_site_options(await list_sites(visit))}
    if draft.mode != SENTENCE_MODE:
        return choices
    texts, fields = visit.texts, draft.fields
    metrics, indices = await visit.api.get_all("/v1/metrics", "/v1/indices")
    index = next((each for each in indices["data"] if each["name"] == fields.one("index")), None)
    metric_options = rule_options.list_metrics(metrics["data"], texts)
    of_index = set(index["metrics"]) if index else set()
    return choices | {
        "kinds": rule_options.describe_kinds(texts),
        "metrics": metric_options,
        "metric_groups": rule_options.group_metrics(
            metric_options, await _list_measured(visit, fields.one("site")), texts
        ),
        "operators": rule_options.list_operators(texts),
        "sides": rule_options.list_sides(texts),
        "functions": rule_options.list_functions(texts),
        "severities": rule_options.list_severities(texts),
        "units": rule_options.list_units(texts),
        "days": rule_options.list_days(texts),
        "states": rule_options.list_states(texts, fields.one("state")),
        "events": rule_options.list_event_types(texts, fields.one("event")),
        "indices": rule_options.list_indices(indices["data"], texts),
        "banded": rule_options.list_indices(indices["data"], texts, banded=True),
        "bands": rule_options.list_bands(index, texts),
        "index_unit": index["unit"] if index else "",
        "periods": rule_options.list_periods(texts, index["periods"] if index else ()),
        "index_metrics": [(name, label) for name, label, _ in metric_options if name in of_index],
        "boxes": await _list_boxes(visit, fields.one("site")),
    }


async def _list_boxes(visit: ConsoleVisit, site: str) -> list[tuple[str, str]]:
    """List the boxes of a site by id and name; empty without a site."""
    try:
        site_id = parse_id(site, "site")
    except NotFoundError:
        return []
    boxes = await visit.api.get_unless_refused("/v1/boxes", site=str(site_id), limit=_BOXES)
    return [] if boxes is None else [(box["id"], box["name"] or box["id"]) for box in boxes["data"]]


async def _list_measured(visit: ConsoleVisit, site: str) -> set[str]:
    """List the metrics that the boxes of a site have sent; empty without a site."""
    try:
        site_id = parse_id(site, "site")
    except NotFoundError:
        return set()
    latest = await visit.api.get_unless_refused(f"/v1/sites/{site_id}/latest", limit=_BOXES)
    return {name for box in latest["data"] for name in box["values"]} if latest else set()
