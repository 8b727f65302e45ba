"""Brings rules into one form, so that two ways to write the same rule are equal. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError

BODY_KEYS: Final = (
    *("site_id", "name", "description", "severity", "condition", "levels", "scope", "active"),
    *("max_age", "escalations", "remind_every", "enabled", "dry_run"),
)
"""The fields of a rule that a client sends, in the order in which they are shown."""
_SHOWN: Final = frozenset(
    {
        *("id", "organisation_id", "version", "preset", "preset_modified", "created_at", "updated_at"),
        *("sentence", "sentence_fr"),
    }
)
_DURATIONS: Final = frozenset(
    {"for", "keep_firing_for", "no_data", "window", "max_age", "after", "remind_every"}
)
_DEFAULTS: Final[Mapping[str, object]] = {
    "for": 0,
    "keep_firing_for": 0,
    "repeat": 1,
    "margin": 0,
    "count": 1,
    "max_age": 3_600,
    "escalations": [],
    "enabled": True,
    "dry_run": False,
}
_EVENT_WINDOW_S: Final = 300
_CONDITIONS: Final = ("severity", "condition", "levels")
_SINGLE: Final = tuple(name for name in BODY_KEYS if name not in {"site_id", *_CONDITIONS})
_EMPTY: Final[Mapping[str, object]] = {
    "max_age": "PT1H",
    "escalations": [],
    "enabled": True,
    "dry_run": False,
}


def body_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a rule that a client sends, without those that are null."""
    return {name: rule[name] for name in BODY_KEYS if rule.get(name) is not None}


def change_of(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of `PATCH /v1/rules/{id}` that makes a stored rule equal to a typed one.

    What means the same stays as it is stored: a change of notation would restart the rule. Fields that the
    API does not know are included, so that it names them.
    """
    old, new = normalise_rule(body_of(stored)), normalise_rule(typed)
    parts = [("levels",), ("severity", "condition"), *((name,) for name in _SINGLE)]
    changed = [
        name for part in parts for name in part if any(old.get(each) != new.get(each) for each in part)
    ]
    others = [name for name in new if name not in BODY_KEYS]
    if new.get("site_id") != old.get("site_id"):
        others.append("site_id")
    return {
        name: typed.get(name, _EMPTY.get(name))
        for name in (*changed, *others)
        if name not in _CONDITIONS or typed.get(name) is not None
    }


def normalise_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule without defaults and with durations in seconds. Invalid parts stay as they are."""
    found: dict[str, Any] = _normalise({name: rule[name] for name in rule if name not in _SHOWN})
    if "levels" in found:
        # The API shows the highest severity beside the levels.
        found.pop("severity", None)
    return found


def _normalise(value: Any, key: str = "") -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, Mapping):
        made = {name: _normalise(each, name) for name, each in value.items() if each is not None}
        if "clear" in made and made["clear"] == made.get("threshold"):
            del made["clear"]
        if "event" in made and made.get("window") == _EVENT_WINDOW_S:
            del made["window"]
        return {name: each for name, each in made.items() if name not in _DEFAULTS or each != _DEFAULTS[name]}
    if isinstance(value, list | tuple):
        return [_normalise(each) for each in value]
    if key in _DURATIONS and isinstance(value, str):
        try:
            return parse_iso_duration(value)
        except RejectedError:
            return value
    return value
