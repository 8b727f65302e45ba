"""Describes a rule in sentences: when it fires, when it ends, and its scope. Pure.

It reads the stored definition. An invalid definition results in an empty text, not in an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.notifications.email.mail_texts import MailTexts, get_mail_texts
from app.notifications.sentences.phrases import ENGLISH, FRENCH, SentencePhrases
from app.notifications.sentences.sentence_parts import (
    NAME_LIMIT,
    capitalize_sentence,
    describe_function,
    format_metric_name,
    format_sound_class,
    get_comparison_unit,
    parse_duration_s,
)
from app.presentation.date_formats import format_hour_and_minute, spell_duration
from app.presentation.languages import Language
from app.presentation.number_formats import append_unit, format_exact_measurement, format_percent
from app.presentation.typography import clean_line, typeset_text

type JsonObject = Mapping[str, Any]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LISTED: Final = 5


class SentenceWords(NamedTuple):
    """The words of one language."""

    phrases: SentencePhrases
    texts: MailTexts
    titles: Mapping[str, str] = {}

    @property
    def language(self) -> Language:
        """The language of the words."""
        return self.phrases.language

    @classmethod
    def of(cls, name: str) -> "SentenceWords":
        """Return the words of `en` or `fr`; English for any other."""
        return cls(FRENCH if name == FRENCH.language else ENGLISH, get_mail_texts(name))


def rule_sentence(
    definition: JsonObject,
    language: str = "en",
    *,
    dry_run: bool = False,
    titles: Mapping[str, str] | None = None,
) -> str:
    """Describe when a rule fires.

    Args:
        definition: The stored `levels`, `scope` and `active` of a rule.
        language: `en` or `fr`.
        dry_run: Whether the rule is a dry run.
        titles: Titles of indices by name (`eaqi`), and labels of their classes (`eaqi/poor`); a missing title
            is replaced by the name.

    Returns:
        A few sentences; empty if the definition has no levels.
    """
    words = SentenceWords.of(language)._replace(titles=titles or {})
    rules = words.phrases.rules
    levels = [_level(level, words) for level in definition.get("levels") or () if level.get("condition")]
    if not levels:
        return ""
    said = [capitalize_sentence(level, words.phrases) + "." for level in levels]
    calm = [parse_duration_s(level["condition"].get("keep_firing_for")) for level in definition["levels"]]
    if max(calm):
        said.append(rules["calm"].format(time=spell_duration(max(calm), words.language)))
    if scope := describe_scope(definition.get("scope"), words):
        said.append(rules["scope"].format(scope=scope))
    if definition.get("active"):
        hours = ", ".join(_hours(span, words) for span in definition["active"])
        said.append(rules["active"].format(hours=hours))
    if dry_run:
        said.append(rules["trial"])
    return " ".join(said)


def _level(level: JsonObject, words: SentenceWords) -> str:
    condition: JsonObject = level["condition"]
    rules = words.phrases.rules
    severity = words.texts.severities.get(level.get("severity") or "", "")
    if "not" in condition:
        said = rules["level_unless"].format(severity=severity, clause=_unless(condition["not"], words))
    else:
        said = rules["level"].format(severity=severity, clause=describe_condition(condition, words))
    timing = describe_timing(condition, words, words.phrases.lasting)
    if timing and not timing.startswith(",") and has_subconditions(condition):
        timing = words.phrases.clauses["together"].format(timing=timing)
    said += timing
    clear, threshold = condition.get("clear"), condition.get("threshold")
    if clear is None or clear == threshold or "index" in condition:
        return said
    side = "clear_down" if str(condition.get("operator")).startswith(">") else "clear_up"
    end = rules[side].format(x=describe_operand(clear, get_comparison_unit(condition), words))
    return rules["level_end"].format(level=said, clear=end)


def has_subconditions(condition: JsonObject) -> bool:
    """Check whether a condition consists of other conditions."""
    return any(key in condition for key in ("all", "any", "not", "boxes"))


def describe_timing(condition: JsonObject, words: SentenceWords, phrase: str) -> str:
    """Describe how long, or how many times in a row, a condition has to hold; empty if once is enough."""
    phrases = words.phrases
    wait, repeat = parse_duration_s(condition.get("for")), condition.get("repeat") or 1
    said = phrase.format(time=spell_duration(wait, phrases.language)) if wait else ""
    return said + (phrases.in_a_row.format(count=repeat) if repeat > 1 else "")


def describe_condition(node: JsonObject, words: SentenceWords, *, nested: bool = False) -> str:
    """Describe a part of a condition, without its timing."""
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
        said = clauses["box"].format(clause=said, box=clean_line(str(node["box"]), NAME_LIMIT))
    return said


def _join(nodes: Sequence[JsonObject], key: str, joint: str, words: SentenceWords) -> str:
    """Join parts; in `all`, negated parts come last, as `unless …`."""
    clauses = words.phrases.clauses
    plain = [node for node in nodes if key == "any" or "not" not in node]
    said = clauses[joint].join(describe_condition(node, words, nested=True) for node in plain)
    for node in nodes:
        if key == "all" and "not" in node:
            said += (", " if said else "") + _unless(node["not"], words)
    return said


def _unless(node: JsonObject, words: SentenceWords) -> str:
    return words.phrases.clauses["unless"].format(clause=describe_condition(node, words, nested=True))


def _across(node: JsonObject, words: SentenceWords) -> str:
    clauses = words.phrases.clauses
    inner = describe_condition(node["boxes"], words)
    if node.get("share") is not None:
        said = clauses["share"].format(share=format_percent(node["share"], words.language), clause=inner)
    else:
        said = clauses["at_least"].format(
            count=format_box_count(node.get("at_least") or 1, words), clause=inner
        )
    scope = describe_scope(node.get("scope"), words)
    return said + clauses["among"].format(scope=scope) if scope else said


def format_box_count(count: int, words: SentenceWords) -> str:
    """Format a number of boxes."""
    rules = words.phrases.rules
    return rules["one_box" if count == 1 else "several_boxes"].format(count)


def describe_scope(scope: JsonObject | None, words: SentenceWords) -> str:
    """Describe the boxes of a scope; empty if it includes all."""
    clauses = words.phrases.clauses
    said = []
    for key in ("boxes", "kinds", "tags"):
        if names := (scope or {}).get(key):
            listed = ", ".join(clean_line(str(name), NAME_LIMIT) for name in names[:_LISTED])
            said.append(clauses[key].format(names=listed + (" …" if len(names) > _LISTED else "")))
    return ", ".join(said)


def _hours(span: JsonObject, words: SentenceWords) -> str:
    phrases = words.phrases
    days = [phrases.days[_DAYS.index(day)] for day in span.get("days") or () if day in _DAYS]
    named = ", ".join(days) or phrases.rules["every_day"]
    start, end = (_clock(str(span.get(key)), words) for key in ("from", "to"))
    return phrases.rules["hours"].format(days=named, start=start, end=end)


def _clock(at: str, words: SentenceWords) -> str:
    hour, _, minute = at.partition(":")
    if not (hour.isdecimal() and minute.isdecimal()):
        return at
    return format_hour_and_minute(int(hour), int(minute), words.language)


def _leaf(node: JsonObject, words: SentenceWords) -> str:
    phrases, clauses = words.phrases, words.phrases.clauses
    if "no_data" in node:
        time = spell_duration(parse_duration_s(node["no_data"]), phrases.language)
        metric = node.get("metric")
        key = "silence" if metric is None else "silence_of"
        name = "" if metric is None else format_metric_name(metric, phrases)
        return clauses[key].format(time=time, metric=name)
    if "event" in node:
        return _event(node, words)
    if "index" in node:
        return _index(node, words)
    name = format_metric_name(str(node.get("metric")), phrases)
    compared = describe_comparison(node, get_comparison_unit(node), words)
    if node.get("function") is None:
        return clauses["value"].format(metric=name, compared=compared)
    function = describe_function(node, phrases, words.texts)
    return clauses["window"].format(metric=name, compared=compared, **function)


def _event(node: JsonObject, words: SentenceWords) -> str:
    phrases, clauses = words.phrases, words.phrases.clauses
    kind = str(node["event"])
    details = [format_sound_class(str(node["class"]), words.language)] if node.get("class") else []
    if node.get("model"):
        details.append(clean_line(str(node["model"]), NAME_LIMIT))
    if node.get("confidence"):
        details.append(
            clauses["confidence"].format(percent=format_percent(100 * node["confidence"], words.language))
        )
    if (node.get("count") or 1) > 1:
        time = spell_duration(parse_duration_s(node.get("window")), phrases.language)
        details.append(clauses["times"].format(count=node["count"], time=time))
    what = words.texts.recognised.get(kind) or clean_line(kind, NAME_LIMIT)
    return clauses["event"].format(what=what, details="".join(f", {each}" for each in details))


def _index(node: JsonObject, words: SentenceWords) -> str:
    clauses = words.phrases.clauses
    title = _titled(node["index"], node["index"], words)
    if node.get("metric") is not None:
        name = format_metric_name(str(node["metric"]), words.phrases)
        title = clauses["index_of"].format(title=title, metric=name)
    if node.get("band") is not None:
        compared = clauses["band"].format(
            band=_titled(node["band"], f"{node['index']}/{node['band']}", words)
        )
    else:
        compared = describe_comparison(node, "", words)
    return clauses["index"].format(title=title, compared=compared)


def _titled(name: object, key: object, words: SentenceWords) -> str:
    return typeset_text(clean_line(words.titles.get(str(key)) or str(name), NAME_LIMIT), words.language)


def describe_comparison(
    node: JsonObject, unit: str, words: SentenceWords, *, threshold: float | None = None
) -> str:
    """Describe a comparison, such as `above 25 µg/m³`; empty if it is unknown.

    Args:
        node: A condition with an `operator`, and `threshold` or `low` and `high`.
        unit: The unit of the numbers.
        words: The words of the language.
        threshold: Replaces the node's threshold, which may be an attribute.
    """
    phrases = words.phrases
    sign = str(node.get("operator"))
    if sign in phrases.ranges:
        low, high = (describe_operand(node.get(key), "", words) for key in ("low", "high"))
        return phrases.ranges[sign].format(low=low, high=append_unit(high, unit, words.language))
    operand = node.get("threshold") if threshold is None else threshold
    if sign not in phrases.compared or operand is None:
        return ""
    return phrases.compared[sign].format(x=describe_operand(operand, unit, words))


def describe_operand(operand: object, unit: str, words: SentenceWords) -> str:
    """Format a number with its unit, or name the attribute."""
    if isinstance(operand, int | float):
        return format_exact_measurement(float(operand), unit, words.language)
    if not isinstance(operand, Mapping):
        return "?"
    clauses = words.phrases.clauses
    name, default = clean_line(str(operand.get("attribute")), NAME_LIMIT), operand.get("default")
    if default is None:
        return clauses["attribute"].format(name=name)
    shown = format_exact_measurement(float(default), unit, words.language)
    return clauses["attribute_default"].format(name=name, default=shown)
