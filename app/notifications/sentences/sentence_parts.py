"""Words what sentences on events and on rules share: metric names, functions and units. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.catalogue.gunshot_sources import CATALOGUE
from app.catalogue.metric_display_names import describe_metric, get_metric_unit
from app.notifications.email.mail_texts import MailTexts
from app.notifications.sentences.phrases import SentencePhrases
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.date_formats import spell_duration
from app.presentation.number_formats import format_exact_number
from app.presentation.typography import NBSP, clean_line

NAME_LIMIT: Final = 120
"""The most characters of a name in a sentence."""

_PERCENTILE: Final = "percentile"


def format_metric_name(metric: str, phrases: SentencePhrases) -> str:
    """Return the short name of a metric for use inside a sentence."""
    return phrases.metrics.get(metric) or describe_metric(metric, phrases.language)


def format_sound_class(name: str, language: str) -> str:
    """Name a class of sounds for use inside a sentence; as the box wrote it if the catalogue lacks it."""
    known = CATALOGUE.classes.get(name)
    if known is None:
        return clean_line(name, NAME_LIMIT)
    label = known.label_fr if language == "fr" else known.label
    return label[:1].lower() + label[1:]


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
        words = phrases.percentile.format(n=format_exact_number(share, phrases.language))
    length = parse_duration_s(node.get("window"))
    over = phrases.over_window.format(window=spell_duration(length, phrases.language)) if length else ""
    return {"function": words, "over": over}


def get_comparison_unit(node: Mapping[str, Any]) -> str:
    """Return the unit of a comparison of samples."""
    return get_metric_unit(node.get("metric"), node.get("function"))


def capitalize_sentence(text: str, phrases: SentencePhrases) -> str:
    """Capitalize an English sentence; French ones begin with the name of a place.

    In English, non-breaking spaces become plain ones: programs compare these sentences.
    """
    return (text[:1].upper() + text[1:]).replace(NBSP, " ") if phrases.language == "en" else text
