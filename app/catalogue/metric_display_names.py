"""Names metrics and their units for people, in each language. Pure."""

from collections.abc import Mapping
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.presentation.languages import Language
from app.presentation.typography import clean_line, typeset_text

# The results of these functions are not in the metric's unit.
_COUNT, _RATE = "count", "rate"
_UNKNOWN_LIMIT: Final = 64
# Short names of metrics, as the press writes them.
_SYMBOLS: Final[Mapping[str, str]] = {
    "pm2_5": "PM2.5",
    "pm10": "PM10",
    "no2": "NO₂",
    "o3": "O₃",
    "so2": "SO₂",
    "co": "CO",
    "co2": "CO₂",
    "laeq": "LAeq",
}


def get_metric_unit(metric: str | None, function: str | None) -> str:
    """Return the unit of a metric, or of a function of it; empty if there is none."""
    known = METRICS_BY_NAME.get(metric or "")
    if known is None or function == _COUNT:
        return ""
    return f"{known.unit}/h" if function == _RATE else known.unit


def get_metric_title(metric: str, language: Language) -> str:
    """Return the measured quantity of a metric."""
    known = METRICS_BY_NAME[metric]
    return typeset_text(known.description_fr if language == "fr" else known.description, language)


def describe_metric(metric: str, language: Language) -> str:
    """Return the measured quantity of a metric with its name; the name alone of an unknown one."""
    if metric not in METRICS_BY_NAME:
        return clean_line(metric, _UNKNOWN_LIMIT)
    return f"{get_metric_title(metric, language)} ({metric})"


def get_metric_symbol(metric: str, language: Language) -> str:
    """Return the symbol of a metric, or its title if it has none."""
    symbol = _SYMBOLS.get(metric)
    if symbol is None:
        return get_metric_title(metric, language)
    return symbol.replace(".", ",") if language == "fr" else symbol
