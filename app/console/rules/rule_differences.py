"""Lists what differs between two versions of a rule, in words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.console.framework.page_translation import PageTranslator
from app.console.rules.rule_normal_form import BODY_KEYS
from app.console.rules.rule_options import list_severities
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.date_formats import spell_duration
from app.presentation.typography import NO_VALUE

_LISTED: Final = 12
_DURATIONS: Final = frozenset(
    {"for", "keep_firing_for", "no_data", "window", "max_age", "after", "remind_every"}
)


class RuleDifference(NamedTuple):
    """A field that differs.

    Attributes:
        label: What it is.
        old: The earlier value in words; a dash if it had none.
        new: The later value in words; a dash if it has none.
    """

    label: str
    old: str
    new: str


def list_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], texts: PageTranslator
) -> list[RuleDifference]:
    """List the fields that differ between two versions of a rule. Many differences become two sentences."""
    before, after = (dict(_leaves(_shown(rule))) for rule in (old, new))
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if len(paths) > _LISTED:
        key = "sentence_fr" if texts.formatter.language == "fr" else "sentence"
        return [RuleDifference(texts.t("The rule"), old[key], new[key])]
    return [
        RuleDifference(
            _label(path, texts), _words(path, before.get(path), texts), _words(path, after.get(path), texts)
        )
        for path in paths
    ]


def _shown(rule: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: rule.get(name) for name in BODY_KEYS if name != "site_id"}
    if shown["levels"] is not None:
        del shown["severity"]
    return shown


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, str(index)))
    elif value is not None and value != []:
        yield path, value


def _label(path: Sequence[str], texts: PageTranslator) -> str:
    label = _labels(texts).get(path[-1])
    if label is None:
        return ".".join(path)
    if path[0] == "levels":
        return texts.t("Level {number}: {field}", number=int(path[1]) + 1, field=label)
    return label


def _words(path: Sequence[str], value: Any, texts: PageTranslator) -> str:  # noqa: ANN401 (JSON)
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return texts.t("yes") if value else texts.t("no")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int | float):
        return texts.formatter.limit(value, "1")
    if path[-1] in _DURATIONS:
        return _spell(value, texts)
    return dict(list_severities(texts)).get(value, value) if path[-1] == "severity" else str(value)


def _spell(duration: str, texts: PageTranslator) -> str:
    try:
        return spell_duration(parse_iso_duration(duration), texts.formatter.language)
    except RejectedError:
        return duration


def _labels(texts: PageTranslator) -> dict[str, str]:
    return {
        "name": texts.t("Name"),
        "description": texts.t("What to do"),
        "severity": texts.t("Severity"),
        "metric": texts.t("Metric"),
        "operator": texts.t("Comparison"),
        "threshold": texts.t("Threshold"),
        "clear": texts.t("Ends at"),
        "low": texts.t("Lower bound"),
        "high": texts.t("Upper bound"),
        "margin": texts.t("Margin"),
        "for": texts.t("For at least"),
        "repeat": texts.t("Times in a row"),
        "keep_firing_for": texts.t("Ends after"),
        "function": texts.t("Function"),
        "window": texts.t("Window"),
        "percentile": texts.t("Percentile"),
        "coverage": texts.t("Coverage"),
        "no_data": texts.t("No data for"),
        "event": texts.t("Event"),
        "confidence": texts.t("Confidence"),
        "count": texts.t("Number"),
        "index": texts.t("Index"),
        "period": texts.t("Period"),
        "band": texts.t("Class"),
        "clear_band": texts.t("Ends in class"),
        "boxes": texts.t("Boxes"),
        "kinds": texts.t("Kinds of boxes"),
        "tags": texts.t("Tags"),
        "days": texts.t("Days"),
        "from": texts.t("Hours from"),
        "to": texts.t("Hours to"),
        "max_age": texts.t("Oldest value"),
        "after": texts.t("Escalation after"),
        "remind_every": texts.t("Reminder every"),
        "enabled": texts.t("Enabled"),
        "dry_run": texts.t("Dry run"),
    }
