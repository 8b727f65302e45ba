"""Names metrics on the pages of the console: as labels, and as choices. Pure."""

from collections.abc import Mapping
from typing import Final

from app.catalogue.metric_display_names import get_metric_symbol, get_metric_title
from app.notifications.sentences.phrases import FRENCH, PHRASES
from app.presentation.languages import Language

_CODES: Final[Mapping[str, str]] = {
    "pm1": "PM1",
    "pm2_5": "PM2.5",
    "pm4": "PM4",
    "pm10": "PM10",
    "no": "NO",
    "no2": "NO2",
    "o3": "O3",
    "so2": "SO2",
    "co": "CO",
    "co2": "CO2",
    "tvoc": "TVOC",
    "h2s": "H2S",
    "nh3": "NH3",
    "hcho": "HCHO",
    "laeq": "LAeq",
    "lamax": "LAmax",
    "lcpeak": "LCpeak",
    "la10": "LA10",
    "la50": "LA50",
    "la90": "LA90",
    "rssi": "RSSI",
}
"""What people type to find a metric in a list; digits are not subscripts, as no keyboard has those."""
_FRENCH_CODES: Final[Mapping[str, str]] = {"pm2_5": "PM2,5", "tvoc": "COVT"}


def name_metric(metric: str, language: Language) -> str:
    """Return the short name of a metric, as a label: its symbol, else its name in sentences."""
    symbol = get_metric_symbol(metric, language)
    if symbol != get_metric_title(metric, language):
        return symbol
    name = (FRENCH if language == "fr" else PHRASES).metrics.get(metric, symbol)
    return f"{name[:1].upper()}{name[1:]}"


def label_metric(metric: str, language: Language) -> str:
    """Return a metric as a choice of a list: its code and its title, such as PM10 and what it stands for."""
    title = get_metric_title(metric, language)
    code = (_FRENCH_CODES.get(metric) if language == "fr" else None) or _CODES.get(metric)
    return title if code is None else f"{code} \N{EN DASH} {title[:1].lower()}{title[1:]}"
