"""Formats titles, values, periods and colours of index values, for several report sections. Pure."""

from typing import Final

from app.catalogue.metric_display_names import get_metric_symbol
from app.environmental_indices.index_results import IndexBand
from app.presentation.local_formatter import LocalFormatter
from app.reports.period_labels import format_period
from app.reports.report_statistics import FigureValue, ReportStatistics

# Colours of classes without a colour in their source, from good to bad.
_OWN: Final = {
    "satisfactory": "#BFE3D0",
    "to_improve": "#F3D98B",
    "insufficient": "#E39A7B",
}
_DARK, _LIGHT = "#0f172a", "#ffffff"
_MIDDLE: Final = 0.36
# Methods for which a higher value is better.
HIGHER_IS_BETTER: Final = frozenset({"light"})


def choose_band_colour(band: IndexBand | None) -> str | None:
    """Return the colour of a class; None: it has none."""
    if band is None:
        return None
    return band.colour or _OWN.get(band.key)


def choose_text_colour(colour: str) -> str:
    """Choose the text colour with the better contrast on a background (relative luminance of WCAG 2)."""
    parts = [int(colour[position : position + 2], 16) / 255 for position in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 (sRGB)
        for part in parts
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return _DARK if luminance > _MIDDLE / 2 else _LIGHT


def format_figure_title(value: FigureValue, formats: LocalFormatter) -> str:
    """Format the title of a figure, with its metric if it is for one metric."""
    title = formats.translate(value.figure.method.title)
    return f"{title}, {get_metric_symbol(value.metric, formats.language)}" if value.metric else title


def format_value_period(value: FigureValue, report: ReportStatistics, formats: LocalFormatter) -> str:
    """Format the hour or days of a value; empty: the whole period."""
    slot = value.slot
    if value.figure.lengths == ("hour",):
        text = formats.clock(slot.period.start_us)
        return text if report.is_day else f"{formats.short_day(slot.first)}, {text}"
    if (slot.first, slot.last) == (report.slot.first, report.slot.last):
        return ""
    if slot.first == slot.last:
        return formats.short_day(slot.first)
    return f"{formats.short_day(slot.first)} \u2013 {formats.short_day(slot.last)}"


def format_figure_value(value: FigureValue, formats: LocalFormatter) -> str:
    """Format a value with its unit."""
    result = value.result
    if result.value is None:
        return formats.value(None, result.unit)
    if result.method == "mould-index":
        return formats.number(result.value, 1)
    return formats.measured(result.value, result.unit)


def find_component_value(value: FigureValue, key: str) -> float | None:
    """Return the value of a component; None: it has none."""
    return next((part.value for part in value.result.components if part.key == key), None)


def format_previous_period(report: ReportStatistics, formats: LocalFormatter) -> str:
    """Format the period before, for a sentence."""
    return format_period(report.earlier, formats)
