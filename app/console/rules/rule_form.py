"""Converts rules between the JSON of the API and the fields of the form that reads as a sentence. Pure.

The form knows the common shapes of rules. `rule_to_fields` gives None for a rule that it cannot express
without loss: such a rule is edited as JSON.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.console.framework.form_fields import FormFields
from app.console.rules.rule_durations import duration_of, split_duration
from app.console.rules.rule_normal_form import normalise_rule
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.languages import Language

KINDS: Final = ("value", "range", "window", "silence", "event", "band", "index")
"""The kinds of condition that the form knows, in the order of its choice."""
LEVELS: Final = 3
HOURS_ROWS: Final = 3
ESCALATION_ROWS: Final = 2
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERCENT: Final = 100
_STATES: Final = {
    (False, False): "live",
    (False, True): "dry_run",
    (True, False): "off",
    (True, True): "off_dry_run",
}
_OFF: Final = ("off", "off_dry_run")
_TRIAL: Final = ("dry_run", "off_dry_run")


@dataclass(frozen=True, slots=True)
class _FormReader:
    """Reads the typed values of a form as JSON."""

    fields: FormFields

    def text(self, name: str) -> str | None:
        return self.fields.optional(name)

    def number(self, name: str) -> float | str | None:
        return self.fields.number(name)

    def duration(self, name: str) -> str | None:
        return duration_of(self.number(f"{name}_n"), self.fields.one(f"{name}_unit", "min"))

    def share(self, name: str) -> float | str | None:
        value = self.number(name)
        return round(value / _PERCENT, 8) if isinstance(value, int | float) else value

    def operand(self, level: int) -> Any:  # noqa: ANN401 (a number, or an attribute)
        number = self.number(f"threshold_{level}")
        attribute = self.text(f"attribute_{level}")
        if attribute is None:
            return number
        return {"attribute": attribute} | ({} if number is None else {"default": number})

    def listed(self, name: str) -> list[str] | None:
        parts = [part.strip() for value in self.fields.many(name) for part in value.split(",")]
        return [part for part in parts if part] or None


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def fields_to_rule(fields: FormFields) -> dict[str, Any]:
    """Build the body of `POST /v1/rules` from the fields of the form.

    Text where a number is expected stays, and empty fields are left out: the API names what is wrong.
    """
    form = _FormReader(fields)
    rule = _given(site_id=form.text("site"), name=form.text("name"), description=form.text("description"))
    levels = [_level(form, number) for number in level_numbers(fields)]
    if len(levels) == 1:
        rule |= levels[0]
    else:
        rule["levels"] = levels
    state = fields.one("state", "live")
    return rule | _given(
        scope=_scope(form),
        active=_hours(form),
        max_age=form.duration("max_age"),
        escalations=_escalations(form),
        remind_every=form.duration("remind"),
        enabled=state not in _OFF,
        dry_run=state in _TRIAL,
    )


def level_numbers(fields: FormFields) -> list[int]:
    """Return the numbers of the levels that the form has; the first one always is."""
    others = [number for number in range(2, LEVELS + 1) if fields.one(f"severity_{number}")]
    return [1, *(others if form_kind(fields) != "event" else [])]


def form_kind(fields: FormFields) -> str:
    """Return the kind of condition that is chosen."""
    kind = fields.one("kind")
    return kind if kind in KINDS else KINDS[0]


def _level(form: _FormReader, number: int) -> dict[str, Any]:
    kind = form_kind(form.fields)
    condition = _CONDITIONS[kind](form, number)
    timing = {
        "for": form.duration(f"for_{number}"),
        "repeat": form.number("repeat"),
        "keep_firing_for": form.duration("calm"),
    }
    given = {name: value for name, value in (condition | timing).items() if value is not None}
    return _given(severity=form.text(f"severity_{number}"), condition=given)


def _compared(form: _FormReader, number: int) -> dict[str, Any]:
    return {
        "operator": form.text("operator"),
        "threshold": form.operand(number),
        "clear": form.number(f"clear_{number}"),
    }


def _value(form: _FormReader, number: int) -> dict[str, Any]:
    return {"metric": form.text("metric"), **_compared(form, number)}


def _range(form: _FormReader, number: int) -> dict[str, Any]:
    return {
        "metric": form.text("metric"),
        "operator": form.text("side"),
        **{name: form.number(f"{name}_{number}") for name in ("low", "high", "margin")},
    }


def _window(form: _FormReader, number: int) -> dict[str, Any]:
    function = form.text("function")
    return {
        **_value(form, number),
        "function": function,
        "window": form.duration("window"),
        "percentile": form.number("percentile") if function == "percentile" else None,
        "coverage": form.number("coverage"),
    }


def _silence(form: _FormReader, number: int) -> dict[str, Any]:
    return {"no_data": form.duration(f"no_data_{number}"), "metric": form.text("silence_metric")}


def _event(form: _FormReader, _: int) -> dict[str, Any]:
    return {
        "event": form.text("event"),
        "confidence": form.share("confidence"),
        "class": form.text("class"),
        "model": form.text("model"),
        "count": form.number("count"),
        "window": form.duration("window"),
    }


def _of_index(form: _FormReader) -> dict[str, Any]:
    return {name: form.text(field) for name, field in _INDEX_FIELDS}


def _band(form: _FormReader, number: int) -> dict[str, Any]:
    bands = {name: form.text(f"{name}_{number}") for name in ("band", "clear_band")}
    # Without a class it would be another kind of condition: the API has to name what is missing.
    return {**_of_index(form), **bands, "band": bands["band"] or ""}


def _index(form: _FormReader, number: int) -> dict[str, Any]:
    return {**_of_index(form), **_compared(form, number)}


_INDEX_FIELDS: Final = (("index", "index"), ("period", "period"), ("metric", "index_metric"))
_CONDITIONS: Final = {
    "value": _value,
    "range": _range,
    "window": _window,
    "silence": _silence,
    "event": _event,
    "band": _band,
    "index": _index,
}


def _scope(form: _FormReader) -> dict[str, Any] | None:
    if form.fields.one("where") != "some":
        return None
    return _given(boxes=form.listed("boxes"), kinds=form.listed("kinds"), tags=form.listed("tags"))


def _hours(form: _FormReader) -> list[dict[str, Any]] | None:
    spans = []
    for row in range(1, HOURS_ROWS + 1):
        start, end = form.text(f"hours_{row}_from"), form.text(f"hours_{row}_to")
        days = form.fields.many(f"hours_{row}_days")
        if start is None and end is None:
            continue
        span = {"days": days if 0 < len(days) < len(DAYS) else None, "from": start, "to": end}
        spans.append({name: value for name, value in span.items() if value is not None})
    return spans or None


def _escalations(form: _FormReader) -> list[dict[str, Any]] | None:
    steps = []
    for row in range(1, ESCALATION_ROWS + 1):
        after = form.duration(f"escalate_{row}")
        if after is not None:
            steps.append(_given(after=after, severity=form.text(f"escalate_{row}_severity")))
    return steps


def rule_to_fields(rule: Mapping[str, Any], *, language: Language = "en") -> FormFields | None:
    """Return the fields of the form that make a rule; None if the form cannot express it without loss.

    Args:
        rule: A rule as the API returns it, or a body of `POST /v1/rules`.
        language: The language of the person, in which numbers are written.
    """
    try:
        found = dict(_fields(rule, "," if language == "fr" else "."))
        fields = FormFields({name: values for name, values in found.items() if values}, language)
        same = normalise_rule(fields_to_rule(fields)) == normalise_rule(rule)
    except (KeyError, TypeError, ValueError, AttributeError, RejectedError):
        return None
    return fields if same else None


def _fields(rule: Mapping[str, Any], decimal: str) -> Iterator[tuple[str, list[str]]]:
    yield from (("site", _text(rule.get("site_id"))), ("name", _text(rule.get("name"))))
    yield "description", _text(rule.get("description"))
    levels = rule.get("levels") or [{"severity": rule["severity"], "condition": rule["condition"]}]
    kind = _kind(levels[0]["condition"])
    yield "kind", [kind]
    for number, level in enumerate(levels, 1):
        yield f"severity_{number}", [level["severity"]]
        yield from _condition_fields(level["condition"], number, kind, decimal)
    scope = rule.get("scope")
    yield "where", ["all" if scope is None else "some"]
    yield from ((name, list(map(str, (scope or {}).get(name) or ()))) for name in ("boxes", "kinds", "tags"))
    for row, span in enumerate(rule.get("active") or (), 1):
        yield f"hours_{row}_days", list(span.get("days") or DAYS)
        yield from ((f"hours_{row}_{name}", [span[name]]) for name in ("from", "to"))
    for row, step in enumerate(rule.get("escalations") or (), 1):
        yield from _duration(f"escalate_{row}", step["after"])
        yield f"escalate_{row}_severity", [step["severity"]]
    yield from _duration("remind", rule.get("remind_every"))
    yield from _duration("max_age", rule.get("max_age"))
    off, trial = not rule.get("enabled", True), rule.get("dry_run", False)
    yield "state", [_STATES[off, trial]]


def _kind(condition: Mapping[str, Any]) -> str:
    if "no_data" in condition:
        return "silence"
    if "event" in condition:
        return "event"
    if "index" in condition:
        return "band" if "band" in condition else "index"
    if condition["operator"] in {"inside", "outside"}:
        return "range"
    return "window" if "function" in condition else "value"


def _condition_fields(
    condition: Mapping[str, Any], number: int, kind: str, decimal: str
) -> Iterator[tuple[str, list[str]]]:
    renamed = {"metric": {"silence": "silence_metric", "band": "index_metric", "index": "index_metric"}}
    for name in ("metric", "function", "event", "class", "model", "index", "period"):
        yield renamed.get(name, {}).get(kind, name), _text(condition.get(name))
    yield "side" if kind == "range" else "operator", _text(condition.get("operator"))
    for name in ("percentile", "coverage", "count", "repeat"):
        yield name, _number(condition.get(name), decimal)
    confidence = condition.get("confidence")
    yield "confidence", _number(None if confidence is None else round(confidence * _PERCENT, 6), decimal)
    threshold, clear = condition.get("threshold"), condition.get("clear")
    if isinstance(threshold, Mapping):
        yield f"attribute_{number}", [threshold["attribute"]]
        yield f"threshold_{number}", _number(threshold.get("default"), decimal)
    else:
        yield f"threshold_{number}", _number(threshold, decimal)
    yield f"clear_{number}", [] if clear == threshold else _number(clear, decimal)
    for name in ("low", "high", "margin"):
        yield f"{name}_{number}", _number(condition.get(name), decimal)
    for name in ("band", "clear_band"):
        yield f"{name}_{number}", _text(condition.get(name))
    yield from _duration("window", condition.get("window"))
    for name in ("no_data", "for"):
        yield from _duration(f"{name}_{number}", condition.get(name))
    yield from _duration("calm", condition.get("keep_firing_for"))


def _text(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, str):
        raise TypeError
    return [value]


def _number(value: object, decimal: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    text = str(int(value)) if float(value).is_integer() else repr(float(value))
    return [text.replace(".", decimal)]


def _duration(name: str, value: str | None) -> Iterator[tuple[str, list[str]]]:
    if value is not None:
        amount, unit = split_duration(value)
        yield f"{name}_n", [amount]
        yield f"{name}_unit", [unit]
