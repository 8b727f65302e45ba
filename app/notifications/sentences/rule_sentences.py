"""A rule as a sentence: when it fires, when that ends, and where it holds. Pure.

Reads a rule's definition as it is stored. What is no definition gives no sentence, and raises nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.notifications.email.mail_formats import clean, percent, texts_of, unit_in
from app.notifications.email.mail_texts import Texts
from app.notifications.sentences.phrases import SentencePhrases
from app.notifications.sentences.phrases_en import ENGLISH
from app.notifications.sentences.phrases_fr import FRENCH
from app.notifications.sentences.value_formats import (
    NAME_LIMIT,
    begin_sentence,
    function_words,
    metric_name,
    seconds_of,
    spell_time,
    unit_of_node,
    with_unit,
)

type Json = Mapping[str, Any]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LISTED: Final = 5


class Language(NamedTuple):
    """The words of one language."""

    phrases: SentencePhrases
    texts: Texts
    titles: Mapping[str, str] = {}

    @classmethod
    def of(cls, name: str) -> "Language":
        """Return the words of `en` or `fr`; English for any other."""
        return cls(FRENCH if name == FRENCH.language else ENGLISH, texts_of(name))


def rule_sentence(
    definition: Json, language: str = "en", *, dry_run: bool = False, titles: Mapping[str, str] | None = None
) -> str:
    """Say when a rule fires.

    Args:
        definition: A rule's `levels`, `scope` and `active`, as they are stored.
        language: `en` or `fr`.
        dry_run: Whether the rule is on trial.
        titles: Titles of indices by name (`eaqi`), and labels of their classes (`eaqi/poor`); without one
            the name stands.

    Returns:
        A few sentences; empty where the definition has no levels.
    """
    words = Language.of(language)._replace(titles=titles or {})
    rules = words.phrases.rules
    levels = [_level(level, words) for level in definition.get("levels") or () if level.get("condition")]
    if not levels:
        return ""
    said = [begin_sentence(level, words.phrases) + "." for level in levels]
    calm = [seconds_of(level["condition"].get("keep_firing_for")) for level in definition["levels"]]
    if max(calm):
        said.append(rules["calm"].format(time=spell_time(max(calm), words.phrases)))
    if scope := describe_scope(definition.get("scope"), words):
        said.append(rules["scope"].format(scope=scope))
    if definition.get("active"):
        hours = ", ".join(_hours(span, words) for span in definition["active"])
        said.append(rules["active"].format(hours=hours))
    if dry_run:
        said.append(rules["trial"])
    return " ".join(said)


def _level(level: Json, words: Language) -> str:
    condition: Json = level["condition"]
    rules = words.phrases.rules
    severity = words.texts.severities.get(level.get("severity") or "", "")
    if "not" in condition:
        said = rules["level_unless"].format(severity=severity, clause=_unless(condition["not"], words))
    else:
        said = rules["level"].format(severity=severity, clause=describe_condition(condition, words))
    timing = describe_timing(condition, words, words.phrases.lasting)
    if timing and not timing.startswith(",") and has_parts(condition):
        timing = words.phrases.clauses["together"].format(timing=timing)
    said += timing
    clear, threshold = condition.get("clear"), condition.get("threshold")
    if clear is None or clear == threshold or "index" in condition:
        return said
    side = "clear_down" if str(condition.get("operator")).startswith(">") else "clear_up"
    end = rules[side].format(x=describe_operand(clear, unit_of_node(condition), words))
    return rules["level_end"].format(level=said, clear=end)


def has_parts(condition: Json) -> bool:
    """Tell whether a condition is made of others."""
    return any(key in condition for key in ("all", "any", "not", "boxes"))


def describe_timing(condition: Json, words: Language, phrase: str) -> str:
    """Say how long, or how many times in a row, a condition has to hold; empty where once is enough."""
    phrases = words.phrases
    wait, repeat = seconds_of(condition.get("for")), condition.get("repeat") or 1
    said = phrase.format(time=spell_time(wait, phrases)) if wait else ""
    return said + (phrases.in_a_row.format(count=repeat) if repeat > 1 else "")


def describe_condition(node: Json, words: Language, *, nested: bool = False) -> str:
    """Say what a part of a condition asks, without its timing."""
    clauses = words.phrases.clauses
    for key, joint in (("all", "and"), ("any", "or")):
        if key in node:
            said = _join(node[key], key, joint, words)
            return f"({said})" if nested and len(node[key]) > 1 else said
    if "not" in node:
        return clauses["not"].format(clause=describe_condition(node["not"], words))
    if "boxes" in node:
        return _across(node, words)
    said = _leaf(node, words)
    if node.get("box") is not None:
        said = clauses["box"].format(clause=said, box=clean(str(node["box"]), NAME_LIMIT))
    return said


def _join(nodes: Sequence[Json], key: str, joint: str, words: Language) -> str:
    """Join parts; within `all` those that must not hold come last, as `unless …`."""
    clauses = words.phrases.clauses
    plain = [node for node in nodes if key == "any" or "not" not in node]
    said = clauses[joint].join(describe_condition(node, words, nested=True) for node in plain)
    for node in nodes:
        if key == "all" and "not" in node:
            said += (", " if said else "") + _unless(node["not"], words)
    return said


def _unless(node: Json, words: Language) -> str:
    return words.phrases.clauses["unless"].format(clause=describe_condition(node, words, nested=True))


def _across(node: Json, words: Language) -> str:
    clauses = words.phrases.clauses
    inner = describe_condition(node["boxes"], words)
    if node.get("share") is not None:
        said = clauses["share"].format(share=percent(node["share"] / 100, words.texts), clause=inner)
    else:
        said = clauses["at_least"].format(count=count_boxes(node.get("at_least") or 1, words), clause=inner)
    scope = describe_scope(node.get("scope"), words)
    return said + clauses["among"].format(scope=scope) if scope else said


def count_boxes(count: int, words: Language) -> str:
    """Write a number of boxes."""
    rules = words.phrases.rules
    return rules["one_box" if count == 1 else "several_boxes"].format(count)


def describe_scope(scope: Json | None, words: Language) -> str:
    """Name the boxes that a scope takes; empty where it takes all."""
    clauses = words.phrases.clauses
    said = []
    for key in ("boxes", "kinds", "tags"):
        if names := (scope or {}).get(key):
            listed = ", ".join(clean(str(name), NAME_LIMIT) for name in names[:_LISTED])
            said.append(clauses[key].format(names=listed + (" …" if len(names) > _LISTED else "")))
    return ", ".join(said)


def _hours(span: Json, words: Language) -> str:
    phrases = words.phrases
    days = [phrases.days[_DAYS.index(day)] for day in span.get("days") or () if day in _DAYS]
    named = ", ".join(days) or phrases.rules["every_day"]
    start, end = (_clock(str(span.get(key)), words) for key in ("from", "to"))
    return phrases.rules["hours"].format(days=named, start=start, end=end)


def _clock(at: str, words: Language) -> str:
    """Write a time of day, such as `06:30`: in French `6 h 30`."""
    hour, _, minute = at.partition(":")
    return f"{int(hour)}\xa0h\xa0{minute}" if words.phrases.language == "fr" and hour.isdecimal() else at


def _leaf(node: Json, words: Language) -> str:
    phrases, clauses = words.phrases, words.phrases.clauses
    if "no_data" in node:
        time = spell_time(seconds_of(node["no_data"]), phrases)
        metric = node.get("metric")
        key = "silence" if metric is None else "silence_of"
        name = "" if metric is None else metric_name(metric, phrases, words.texts)
        return clauses[key].format(time=time, metric=name)
    if "event" in node:
        return _event(node, words)
    if "index" in node:
        return _index(node, words)
    name = metric_name(str(node.get("metric")), phrases, words.texts)
    compared = compare_words(node, unit_of_node(node), words)
    if node.get("function") is None:
        return clauses["value"].format(metric=name, compared=compared)
    function = function_words(node, phrases, words.texts)
    return clauses["window"].format(metric=name, compared=compared, **function)


def _event(node: Json, words: Language) -> str:
    phrases, clauses = words.phrases, words.phrases.clauses
    kind = str(node["event"])
    details = [clean(str(node[key]), NAME_LIMIT) for key in ("class", "model") if node.get(key)]
    if node.get("confidence"):
        details.append(clauses["confidence"].format(percent=percent(node["confidence"], words.texts)))
    if (node.get("count") or 1) > 1:
        time = spell_time(seconds_of(node.get("window")), phrases)
        details.append(clauses["times"].format(count=node["count"], time=time))
    what = words.texts.recognised.get(kind) or clean(kind, NAME_LIMIT)
    return clauses["event"].format(what=what, details="".join(f", {each}" for each in details))


def _index(node: Json, words: Language) -> str:
    clauses = words.phrases.clauses
    title = _titled(node["index"], node["index"], words)
    if node.get("metric") is not None:
        name = metric_name(str(node["metric"]), words.phrases, words.texts)
        title = clauses["index_of"].format(title=title, metric=name)
    if node.get("band") is not None:
        compared = clauses["band"].format(
            band=_titled(node["band"], f"{node['index']}/{node['band']}", words)
        )
    else:
        compared = compare_words(node, "", words)
    return clauses["index"].format(title=title, compared=compared)


def _titled(name: object, key: object, words: Language) -> str:
    return clean(words.titles.get(str(key)) or str(name), NAME_LIMIT).translate(words.texts.apostrophes)


def compare_words(node: Json, unit: str, words: Language, *, threshold: float | None = None) -> str:
    """Say what a comparison compares with, such as `above 25 µg/m³`; empty where that is not known.

    Args:
        node: Its `operator` with `threshold`, or with `low` and `high`.
        unit: Stands behind the numbers.
        words: Those of the language.
        threshold: The number that stands in place of the node's, which may be an attribute.
    """
    phrases = words.phrases
    sign = str(node.get("operator"))
    if sign in phrases.ranges:
        low, high = (describe_operand(node.get(key), "", words) for key in ("low", "high"))
        return phrases.ranges[sign].format(
            low=low, high=f"{high}\xa0{unit_in(unit, words.texts)}" if unit else high
        )
    operand = node.get("threshold") if threshold is None else threshold
    if sign not in phrases.compared or operand is None:
        return ""
    return phrases.compared[sign].format(x=describe_operand(operand, unit, words))


def describe_operand(operand: object, unit: str, words: Language) -> str:
    """Write a number with its unit, or name the attribute that has it."""
    if isinstance(operand, int | float):
        return with_unit(float(operand), unit, words.texts)
    if not isinstance(operand, Mapping):
        return "?"
    clauses = words.phrases.clauses
    name, default = clean(str(operand.get("attribute")), NAME_LIMIT), operand.get("default")
    if default is None:
        return clauses["attribute"].format(name=name)
    shown = with_unit(float(default), unit, words.texts)
    return clauses["attribute_default"].format(name=name, default=shown)
