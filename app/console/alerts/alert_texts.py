"""Says the history of an alert in words. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from app.catalogue.gunshot_sources import CATALOGUE
from app.console.framework.page_translation import PageTranslator, mark_text
from app.platform.kernel.instants import parse_iso_duration
from app.presentation.date_formats import spell_duration
from app.presentation.languages import Language

# `levels/0/condition`: the whole condition of a level.
_WHOLE: Final = 2
_MODELS: Final = {each.id: each.name for each in CATALOGUE.firearms}

TIMELINE_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fired": mark_text("Fired"),
        "escalated": mark_text("Severity raised"),
        "deescalated": mark_text("Severity lowered"),
        "resolved": mark_text("Ended"),
        "reminded": mark_text("Reminder sent"),
        "acknowledged": mark_text("Acknowledged by {name}"),
        "unacknowledged": mark_text("Acknowledgement withdrawn"),
        "assigned": mark_text("Assigned to {name}"),
        "unassigned": mark_text("Assignment removed"),
        "commented": mark_text("Comment of {name}"),
        "suppressed": mark_text("Muted"),
        "unsuppressed": mark_text("No longer muted"),
    }
)
"""By the kind of an entry; `{name}` is a person, key or team."""

RESOLUTION_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cleared": mark_text("The condition no longer holds."),
        "out_of_hours": mark_text("The active hours of the rule ended."),
        "rule_changed": mark_text("The rule was changed."),
        "rule_disabled": mark_text("The rule was switched off."),
        "rule_deleted": mark_text("The rule was deleted."),
        "rule_gone": mark_text("The rule no longer applies to this box."),
        "box_deleted": mark_text("The box was deleted."),
        "box_moved": mark_text("The box was moved."),
        "superseded": mark_text("The state was lost, and the rule fired again."),
    }
)
"""Why an alert ended. `describe_resolution` says more of those whose condition no longer holds."""

_CLEARED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "measurement": mark_text("The measurements are back within the limits."),
        "silence": mark_text("The box sends again."),
        "index": mark_text("The index is back within the limits."),
        "event": mark_text("No further event for {duration}."),
        "events": mark_text("Fewer than {count} events in {duration}."),
    }
)

UNDRAWN_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "event": mark_text("The rule watches events: there is no curve."),
        "silence": mark_text("The rule watches for silence: there is no curve."),
        "index": mark_text("The rule watches an index: the page of the site draws it."),
        "measurement": mark_text("There are no measurements to draw."),
    }
)
"""Why a page draws no chart, by the kind of the rule."""


def find_alert_kind(alert: Mapping[str, Any]) -> str:
    """Return what the deciding part of a rule watches: `event`, `silence`, `index` or `measurement`."""
    cause = alert["cause"] or {}
    if cause.get("event") is not None:
        return "event"
    if cause.get("function") == "no_data":
        return "silence"
    return "measurement" if cause.get("index") is None else "index"


def describe_resolution(
    alert: Mapping[str, Any], condition: Mapping[str, Any] | None, texts: PageTranslator, language: Language
) -> str:
    """Say why an alert ended; empty for one that fires.

    Args:
        alert: The alert, as the API returns it.
        condition: The deciding part of its rule; None: unknown.
        texts: The translator of the page.
        language: The language of the page.
    """
    reason = alert["resolution"]
    if reason is None:
        return ""
    cause = alert["cause"] or {}
    is_part = str(cause.get("path") or "").count("/") > _WHOLE
    # If the condition has several parts, the one that ended the alert is unknown.
    if reason != "cleared" or is_part:
        return texts.t(RESOLUTION_TEXTS[reason])
    kind = find_alert_kind(alert)
    if kind != "event":
        return texts.t(_CLEARED[kind])
    if cause.get("window") is None:
        return texts.t(RESOLUTION_TEXTS[reason])
    duration = spell_duration(parse_iso_duration(cause["window"]), language)
    count = (condition or {}).get("count") or 1
    if count == 1:
        return texts.t(_CLEARED["event"], duration=duration)
    return texts.t(_CLEARED["events"], count=count, duration=duration)


class RecognisedSound(NamedTuple):
    """What a box recognised.

    Attributes:
        source: The name of the class.
        model: The name of the model, which is a guess of one box; empty: none.
        confidence: 0 to 1; None: unknown.
    """

    source: str
    model: str
    confidence: float | None


def describe_recognised(alert: Mapping[str, Any], language: Language) -> RecognisedSound | None:
    """Describe the event of a box that decided an alert; None for an alert on anything else."""
    event = (alert["cause"] or {}).get("event")
    if event is None:
        return None
    known = CATALOGUE.classes.get(event.get("class") or "")
    source = event.get("class") or ""
    if known is not None:
        source = known.label_fr if language == "fr" else known.label
    model = event.get("model") or ""
    return RecognisedSound(source, _MODELS.get(model, model), event.get("confidence"))


def choose_timeline_text(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Choose the text of an entry of the timeline, and the name that it mentions."""
    kind = entry["kind"]
    data = entry["data"] or {}
    if kind == "assigned":
        assignee = data.get("assignee")
        return ("assigned", assignee) if assignee else ("unassigned", "")
    return kind, entry["actor"] or ""
