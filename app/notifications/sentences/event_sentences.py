"""Describes an event in one sentence: an alert, an incident, or any other event. Pure.

Example: `PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes`. Missing data are left out of the
    sentence.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

from app.catalogue.metric_display_names import get_metric_unit
from app.notifications.events.event_types import TEST_EVENT
from app.notifications.sentences.cause_paths import find_node
from app.notifications.sentences.rule_sentences import (
    JsonObject,
    SentenceWords,
    describe_comparison,
    describe_condition,
    describe_timing,
    format_box_count,
)
from app.notifications.sentences.sentence_parts import (
    NAME_LIMIT,
    capitalize_sentence,
    describe_function,
    format_metric_name,
    format_sound_class,
    parse_duration_s,
)
from app.presentation.date_formats import format_local_time, parse_instant, spell_duration
from app.presentation.number_formats import format_count, format_exact_measurement, format_percent
from app.presentation.typography import clean_line, typeset_text

ALERTS: Final = "alert."
INCIDENTS: Final = "incident."
GROUP: Final = "alert.group"
_RESOLVED: Final = "resolved"
_NO_DATA: Final = "no_data"
_CLEARED: Final = "cleared"
SENTENCES: Final = {"sentence": "en", "sentence_fr": "fr"}
"""The keys of sentences in the data of events, with their languages."""

_STORED: Final = {language: key for key, language in SENTENCES.items()}


def event_sentence(
    type_: str,
    data: JsonObject,
    language: str = "en",
    *,
    condition: JsonObject | None = None,
    one_box: bool = False,
) -> str:
    """Describe an event.

    Args:
        type_: The event's type, such as `alert.firing`.
        data: The `data` of the native body. If it has a `sentence` (`sentence_fr`), that is returned.
        language: `en` or `fr`.
        condition: The stored condition of the rule's level that caused the event; None: unknown.
        one_box: Whether the site has only this box, so that the sentence need not name it.

    Returns:
        A sentence on one line, without a full stop; empty for a type that has none.
    """
    stored = data.get(_STORED.get(language, "sentence"))
    if isinstance(stored, str) and stored:
        return stored
    words = SentenceWords.of(language)
    if type_ == GROUP:
        return _group(data, words)
    if type_.startswith(ALERTS) and "alert_id" in data:
        return capitalize_sentence(
            _alert(type_, _Alert.of(data, condition, words, one_box=one_box)), words.phrases
        )
    if type_ in words.phrases.incidents:
        return capitalize_sentence(_incident(type_, data, words), words.phrases)
    return _notice(type_, data, words)


def describe_place(data: JsonObject, words: SentenceWords, *, one_box: bool = False) -> str:
    """Name the site of an event, and its box if the site has several."""
    phrases = words.phrases
    site = clean_line(str(data.get("site_name") or ""), NAME_LIMIT)
    box = clean_line(str(data.get("box_name") or data.get("box") or ""), NAME_LIMIT)
    if not site:
        return box or phrases.unnamed_site
    if not box or one_box or box == site:
        return site
    return phrases.place.format(site=site, box=box)


class _Alert(NamedTuple):
    """An alert with the parts of its sentence.

    Attributes:
        data: The event's data.
        cause: The alert's cause.
        condition: The rule's whole condition; None: unknown.
        node: The part of the condition that caused the alert; None: unknown.
        steps: The keys from the whole condition to that part; empty if it is the whole.
        place: The site and the box.
        words: The words of the language.
    """

    data: JsonObject
    cause: JsonObject
    condition: JsonObject | None
    node: JsonObject | None
    steps: Sequence[str]
    place: str
    words: SentenceWords

    @classmethod
    def of(
        cls, data: JsonObject, condition: JsonObject | None, words: SentenceWords, *, one_box: bool
    ) -> Self:
        """Find the part of the condition that caused the alert."""
        cause: JsonObject = data.get("cause") or {}
        node, steps = find_node(condition, str(cause.get("path") or ""))
        place = describe_place(data, words, one_box=one_box)
        return cls(data, cause, condition, node, steps, place, words)


def _alert(type_: str, alert: _Alert) -> str:
    data, words = alert.data, alert.words
    if type_ == "alert.resolved" or data.get("state") == _RESOLVED:
        return _describe_end(alert)
    said = _state(alert)
    phrases, severities = words.phrases, words.texts.severities
    previous = data.get("previous_severity")
    if type_ in {"alert.escalated", "alert.deescalated"} and previous in severities:
        after = str(data.get("severity"))
        before, after = (severities.get(str(each), str(each)).lower() for each in (previous, after))
        return said + phrases.changed.format(previous=before, severity=after)
    if type_ == "alert.reminder":
        return said + phrases.reminded
    if type_ == "alert.acknowledged":
        return said + phrases.acknowledged.format(who=format_acknowledger(data.get("acknowledged_by")))
    return said


def format_acknowledger(acknowledged_by: object) -> str:
    """Name the acknowledger of an alert; a question mark if unknown.

    Args:
        acknowledged_by: `{"kind", "id", "name"}`, or the name in older events.
    """
    name = acknowledged_by.get("name") if isinstance(acknowledged_by, Mapping) else acknowledged_by
    return clean_line(str(name or ""), NAME_LIMIT) or "?"


def _rule(data: JsonObject) -> str:
    return clean_line(str(data.get("rule_name") or ""), NAME_LIMIT) or "?"


def _state(alert: _Alert) -> str:
    """Describe the part that caused the alert, and the whole condition if it has more parts."""
    data, condition, words = alert.data, alert.condition, alert.words
    phrases, hold_time = words.phrases, _describe_hold_time(alert)
    if condition is not None and ("not" in alert.steps or alert.node is None):
        clause = describe_condition(condition, words)
        return phrases.whole.format(rule=_rule(data), place=alert.place, held=hold_time, clause=clause)
    if condition is not None and "boxes" in condition:
        clause = describe_condition(condition["boxes"], words)
        count = format_box_count(len(alert.cause.get("boxes") or ()), words)
        if "no_data" in condition["boxes"] and hold_time and not hold_time.startswith(","):
            # The clause ends with a duration of its own.
            hold_time = phrases.clauses["together"].format(timing=hold_time)
        return phrases.boxes.format(count=count, place=alert.place, clause=clause) + hold_time
    leaf = _decided(alert)
    if leaf is None:
        severity = words.texts.severities.get(str(data.get("severity")), "").lower()
        severity = phrases.graded.format(severity=severity) if severity else ""
        return phrases.plain.format(rule=_rule(data), place=alert.place, severity=severity)
    if condition is None or "all" not in alert.steps:
        # The phrase of a silence contains its duration.
        return leaf if alert.cause.get("function") == _NO_DATA else leaf + hold_time
    return leaf + phrases.completed.format(held=hold_time, clause=describe_condition(condition, words))


def _describe_hold_time(alert: _Alert) -> str:
    """Describe how long the condition had held when it fired: from the rule, or from the times."""
    words = alert.words
    if alert.condition is not None:
        return describe_timing(alert.condition, words, words.phrases.held)
    return _between(alert, "pending_since", "started_at", words.phrases.held)


def _between(alert: _Alert, begin: str, end: str, phrase: str) -> str:
    """Describe the duration between two times of an alert; empty for less than a second."""
    first, last = (parse_instant(_text(alert.data.get(key))) for key in (begin, end))
    seconds = 0.0 if first is None or last is None else (last - first).total_seconds()
    return phrase.format(time=spell_duration(seconds, alert.words.language)) if seconds >= 1 else ""


def _text(value: object) -> str | None:
    """Convert a time to RFC 3339: before an event is stored, it may be a datetime."""
    return None if value is None else str(value).replace(" ", "T", 1)


def _decided(alert: _Alert) -> str | None:
    """Describe what caused the alert; None if it is unknown."""
    data, cause = alert.data, alert.cause
    if isinstance(cause.get("event"), Mapping):
        return _recognised(alert, cause["event"])
    if not isinstance(data.get("value"), int | float):
        return None
    if cause.get("function") == _NO_DATA:
        return _silence(alert)
    if isinstance(cause.get("index"), Mapping):
        return _index(alert, cause["index"])
    if data.get("metric") is None:
        return None
    compared = _compared(alert)
    said = _reading(alert, data["value"])
    return f"{said}, {compared}" if compared else said


def _silence(alert: _Alert) -> str:
    phrases, metric = alert.words.phrases, alert.data.get("metric")
    time = spell_duration(alert.data["value"], phrases.language)
    if metric is None:
        return phrases.silence.format(place=alert.place, time=time)
    name = format_metric_name(str(metric), phrases)
    return phrases.silence_of.format(place=alert.place, time=time, metric=name)


def _compared(alert: _Alert) -> str:
    """Describe the value's limit; if the rule is unknown, by comparing value and threshold."""
    threshold, value = alert.data.get("threshold"), alert.data["value"]
    if alert.node is not None and alert.node.get("operator") is not None:
        return describe_comparison(alert.node, "", alert.words, threshold=threshold)
    if threshold is None or alert.data.get("clear") is None:
        return ""
    sign = ">" if value > threshold else "<" if value < threshold else "="
    return describe_comparison({"operator": sign, "threshold": threshold}, "", alert.words)


def _reading(alert: _Alert, value: float, lasted: str | None = None) -> str:
    """Describe the measured value; with `lasted`, that it is back to normal."""
    phrases, texts = alert.words.phrases, alert.words.texts
    metric, function = str(alert.data["metric"]), alert.cause.get("function")
    filled = {
        "metric": format_metric_name(metric, phrases),
        "place": alert.place,
        "value": format_exact_measurement(value, get_metric_unit(metric, function), texts.language),
        "lasted": lasted or "",
    }
    if function is None:
        return (phrases.reading if lasted is None else phrases.back).format(**filled)
    window = {"percentile": (alert.node or {}).get("percentile"), **alert.cause}
    pattern = phrases.window if lasted is None else phrases.back_window
    return pattern.format(**filled, **describe_function(window, phrases, texts))


def _index(alert: _Alert, index: JsonObject) -> str:
    words = alert.words
    phrases = words.phrases
    value = _index_value(alert.data["value"], index, words)
    said = phrases.index.format(title=_title(index, words), place=alert.place, value=value)
    label = "label_fr" if phrases.language == "fr" else "label"
    if band := (index.get("band") or {}).get(label):
        said += f", {phrases.band.format(band=clean_line(str(band), NAME_LIMIT))}"
    if limit := (index.get("limit_band") or {}).get(label):
        return f"{said} ({phrases.band_limit.format(band=clean_line(str(limit), NAME_LIMIT))})"
    compared = _compared(alert)
    return f"{said}, {compared}" if compared else said


def _title(index: JsonObject, words: SentenceWords) -> str:
    title = index.get("title_fr" if words.language == "fr" else "title") or index.get("method")
    name = typeset_text(clean_line(str(title), NAME_LIMIT), words.language)
    metric = index.get("metric")
    return name if metric is None else f"{name} ({format_metric_name(str(metric), words.phrases)})"


def _index_value(value: float, index: JsonObject, words: SentenceWords) -> str:
    return format_exact_measurement(
        value, clean_line(str(index.get("unit") or ""), NAME_LIMIT), words.language
    )


def _recognised(alert: _Alert, event: JsonObject) -> str:
    words, phrases = alert.words, alert.words.phrases
    kind = str(event.get("type") or "")
    what = words.texts.recognised.get(kind) or clean_line(kind, NAME_LIMIT)
    said = phrases.recognised.format(what=what, place=alert.place)
    # Several boxes guess several models of one shot: a model is in the payload, not in the sentence.
    details = [format_sound_class(str(event["class"]), words.language)] if event.get("class") else []
    if isinstance(event.get("confidence"), int | float):
        details.append(format_percent(100 * event["confidence"], words.language))
    if details:
        said += f" ({', '.join(details)})"
    node = alert.node or {}
    count, window = node.get("count") or 1, parse_duration_s(node.get("window"))
    return said + (
        phrases.counted.format(count=count, time=spell_duration(window, phrases.language))
        if count > 1
        else ""
    )


def _describe_end(alert: _Alert) -> str:
    """Describe the end of an alert, its reason, and its duration."""
    data, cause, words = alert.data, alert.cause, alert.words
    phrases = words.phrases
    lasted = _between(alert, "started_at", "resolved_at", phrases.lasted)
    value, why = data.get("resolved_value"), str(data.get("resolution") or "")
    # If the condition has several parts, the one that ended the alert is unknown.
    if why == _CLEARED and isinstance(value, int | float) and not alert.steps:
        if cause.get("function") == _NO_DATA:
            return phrases.heard_again.format(place=alert.place, lasted=lasted)
        if isinstance(cause.get("index"), Mapping):
            title, shown = _title(cause["index"], words), _index_value(value, cause["index"], words)
            return phrases.back_index.format(title=title, place=alert.place, value=shown, lasted=lasted)
        if data.get("metric") is not None and cause.get("event") is None:
            return _reading(alert, value, lasted)
    reason = words.texts.resolutions.get(why) or clean_line(why, NAME_LIMIT) or "?"
    if why == _CLEARED and not alert.steps and cause.get("event") is not None:
        reason = _describe_missing_events(alert) or reason
    return phrases.over.format(rule=_rule(data), place=alert.place, why=reason, lasted=lasted)


def _describe_missing_events(alert: _Alert) -> str:
    """Describe why a rule on events is at rest; empty if its window is unknown."""
    words, window_s = alert.words, parse_duration_s(alert.cause.get("window"))
    if not window_s:
        return ""
    count = (alert.node or {}).get("count") or 1
    text = words.phrases.no_event if count == 1 else words.phrases.fewer_events
    return text.format(count=count, time=spell_duration(window_s, words.language))


def _group(data: JsonObject, words: SentenceWords) -> str:
    """Describe a group: the numbers of firing and resolved alerts, and the first alert."""
    texts = words.texts
    forms = {"firing": texts.firing, "resolved": texts.resolved}
    counts = ", ".join(
        format_count(data[key], each, texts.language) for key, each in forms.items() if data.get(key)
    )
    first: JsonObject = next(iter(data.get("events") or ()), {})
    said = event_sentence(str(first.get("type")), first.get("data") or {}, words.language)
    if not counts or not said:
        return counts or said
    return words.phrases.group.format(counts=counts, first=said)


def _notice(type_: str, data: JsonObject, words: SentenceWords) -> str:
    if type_ == TEST_EVENT:
        return words.texts.test[1]
    notices = words.texts.notices
    found = notices.get(type_) or notices.get(f"{type_}.{data.get('reason')}")
    if found is not None:
        target = clean_line(str(data.get("target") or ""), NAME_LIMIT)
        return f"{target}{words.texts.colon}{found[1]}" if target else found[1]
    if type_ in words.phrases.requests:
        due = format_local_time(_text(data.get("due_at")), None, words.language) or "?"
        reference = clean_line(str(data.get("reference")), NAME_LIMIT)
        return words.phrases.requests[type_].format(reference=reference, due=due)
    return clean_line(str(data.get("message") or ""), NAME_LIMIT)


def _incident(type_: str, data: JsonObject, words: SentenceWords) -> str:
    phrases = words.phrases
    site = clean_line(str(data.get("site_name") or ""), NAME_LIMIT) or phrases.unnamed_site
    classes = data.get("classes") or ()
    likeliest = str(classes[0].get("class") or "") if classes else ""
    what = words.texts.recognised["gunshot"]
    details = [format_sound_class(likeliest, words.language)] if likeliest else []
    if isinstance(data.get("probability"), int | float):
        details.append(format_percent(100 * data["probability"], words.language))
    said = phrases.incidents[type_].format(
        what=what,
        where=phrases.incident_place.format(place=site),
        outcome=clean_line(str(data.get("outcome") or "?"), NAME_LIMIT),
    )
    if details and type_ in {"incident.detected", "incident.updated"}:
        said += f" ({', '.join(details)})"
    return said
