"""Formats numbers, names, units and durations for sentences. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.notifications.email.mail_formats import (
    clean_line,
    describe_metric,
    format_measurement,
    format_number,
    get_metric_unit,
)
from app.notifications.email.mail_texts import MailTexts
from app.notifications.sentences.phrases import SentencePhrases
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError

NAME_LIMIT: Final = 120
"""The most characters of a name in a sentence."""

_NO_UNIT: Final = "1"
_PERCENTILE: Final = "percentile"


def format_metric_name(metric: str, phrases: SentencePhrases, texts: MailTexts) -> str:
    """Return the short name of a metric for use inside a sentence."""
    return phrases.metrics.get(metric) or describe_metric(metric, texts)


def spell_duration(seconds: float, phrases: SentencePhrases) -> str:
    """Format a duration by its two largest units, in words: `1 hour 30 minutes`."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for length, one, several in phrases.units:
        count, left = divmod(left, length)
        if count:
            parts.append((one if count == 1 else several).format(count))
        elif parts:
            break
    return " ".join(parts[:2]) or phrases.units[-1][2].format(0)


def parse_duration_s(duration: object) -> float:
    """Parse an ISO 8601 duration to seconds; 0 if it is invalid."""
    if not isinstance(duration, str):
        return 0.0
    try:
        return parse_iso_duration(duration)
    except RejectedError:
        return 0.0


def describe_function(node: Mapping[str, Any], phrases: SentencePhrases, texts: MailTexts) -> dict[str, str]:
    """Name a function over a window: `function`, such as `mean`, and `over`, such as ` over 24 hours`.

    Args:
        node: A condition with `function`, `window` and `percentile`.
        phrases: The phrases of the language.
        texts: The texts of the language.
    """
    name = str(node.get("function"))
    words = texts.functions.get(name) or clean_line(name, NAME_LIMIT)
    share = node.get("percentile")
    if name == _PERCENTILE and isinstance(share, int | float):
        words = phrases.percentile.format(n=format_number(share, texts))
    length = parse_duration_s(node.get("window"))
    over = phrases.over_window.format(window=spell_duration(length, phrases)) if length else ""
    return {"function": words, "over": over}


def get_comparison_unit(node: Mapping[str, Any]) -> str:
    """Return the unit of a comparison of samples."""
    return get_metric_unit(node.get("metric"), node.get("function"))


def get_index_unit(unit: object) -> str:
    """Return the unit of an index; empty if it has none."""
    return "" if unit == _NO_UNIT or not isinstance(unit, str) else clean_line(unit, NAME_LIMIT)


def format_with_unit(value: float, unit: str, texts: MailTexts) -> str:
    """Format a value with its unit."""
    return format_measurement(value, unit, texts)


def capitalize_sentence(text: str, phrases: SentencePhrases) -> str:
    """Capitalize an English sentence; French ones begin with the name of a place.

    In English, non-breaking spaces become plain ones: programs compare these sentences.
    """
    return (text[:1].upper() + text[1:]).replace("\xa0", " ") if phrases.language == "en" else text
