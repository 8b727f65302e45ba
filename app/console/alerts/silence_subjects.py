"""Says what a silence mutes by names, and finds the silences of an alert. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.catalogue.metric_display_names import describe_metric
from app.console.framework.page_translation import PageTranslator, mark_text

_SEVERITIES: Final = {
    "critical": mark_text("Critical"),
    "warning": mark_text("Warning"),
    "info": mark_text("Info"),
}
# By the names of matchers, with the field of an alert that each compares.
_FIELDS: Final = {
    "rule_ids": "rule_id",
    "boxes": "box",
    "site_ids": "site_id",
    "metrics": "metric",
    "severities": "severity",
}
_LABELS: Final = {
    "rule_ids": mark_text("Rule"),
    "boxes": mark_text("Box"),
    "site_ids": mark_text("Site"),
    "metrics": mark_text("Metric"),
    "severities": mark_text("Severity"),
    "tags": mark_text("Tag"),
}


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Names and sites of what silences mute.

    Attributes:
        sites: Id → name.
        zones: Id of a site → its time zone.
        rules: Id → name and id of the site.
        boxes: Id → name and id of the site.
    """

    sites: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    boxes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def read_box_names(box_map: Mapping[str, Any] | None) -> dict[str, tuple[str, str]]:
    """Read the names and sites of boxes from the columns of `GET /v1/overview/boxes`."""
    if box_map is None:
        return {}
    sites = [site["id"] for site in box_map["sites"]]
    columns = zip(box_map["ids"], box_map["labels"], box_map["site"], strict=True)
    return {box: (label, sites[site]) for box, label, site in columns}


def describe_subjects(
    silence: Mapping[str, Any], known: KnownNames, texts: PageTranslator
) -> list[tuple[str, str]]:
    """Return what a silence mutes, as pairs of a label and names. Without a pair, it mutes everything."""
    subjects = []
    for name, label in _LABELS.items():
        values = silence["matchers"].get(name)
        if values:
            names = [_name(name, value, known, texts) for value in values]
            subjects.append((texts.t(label), ", ".join(names)))
    return subjects


def _name(matcher: str, value: str, known: KnownNames, texts: PageTranslator) -> str:
    match matcher:
        case "rule_ids":
            return known.rules[value][0] if value in known.rules else texts.t("deleted rule")
        case "boxes":
            return known.boxes.get(value, (value, ""))[0]
        case "site_ids":
            return known.sites.get(value) or texts.t("deleted site")
        case "metrics":
            return describe_metric(value, texts.formatter.language)
        case "severities":
            return texts.t(_SEVERITIES[value])
        case _:
            return value


def find_silence_zone(silence: Mapping[str, Any], known: KnownNames) -> str | None:
    """Return the time zone of a silence: its own one, else that of the first site that it concerns."""
    if silence["timezone"]:
        return str(silence["timezone"])
    matchers = silence["matchers"]
    sites = [
        *(matchers.get("site_ids") or ()),
        *(known.boxes[box][1] for box in matchers.get("boxes") or () if box in known.boxes),
        *(known.rules[rule][1] for rule in matchers.get("rule_ids") or () if rule in known.rules),
    ]
    return next((known.zones[site] for site in sites if site in known.zones), None)


def select_silences(
    alert: Mapping[str, Any], silences: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Select the silences that mute an alert, or will within seconds; the one that ends last stands first.

    The tags of the alert's box are unknown here: a silence by tag counts once it mutes the alert.
    """
    muting = (alert["suppressed"] or {}).get("silences", ())
    found = [each for each in silences if each["id"] in muting or _matches(alert, each["matchers"])]
    return sorted(found, key=lambda each: each["ends_at"] or "9999", reverse=True)


def _matches(alert: Mapping[str, Any], matchers: Mapping[str, Any]) -> bool:
    given = {name: values for name, values in matchers.items() if values}
    return given.keys() <= _FIELDS.keys() and all(
        alert[_FIELDS[name]] in values for name, values in given.items()
    )
