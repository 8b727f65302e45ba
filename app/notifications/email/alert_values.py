"""Formats the values of an alert, and the thresholds that they were compared with, for mails. Pure.

The alert's `cause` decides which values there are: a sample's value, a window's, a silence, an index, or an
event that the box recognised.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from app.catalogue.metric_display_names import describe_metric, get_metric_unit
from app.notifications.email.mail_event_schemas import (
    MailAlertCause,
    MailAlertData,
    MailIndexBand,
    MailIndexCause,
)
from app.notifications.email.mail_texts import MailTexts
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError
from app.presentation.date_formats import format_duration, format_local_time
from app.presentation.number_formats import format_exact_measurement, format_percent
from app.presentation.typography import clean_line

RESOLVED: Final = "resolved"
"""The state of a resolved alert."""

_NO_DATA: Final = "no_data"
_WORD: Final = 64
_TITLE: Final = 120


def format_alert_value(alert: MailAlertData, texts: MailTexts) -> str:
    """Format the measured value and its limit briefly; empty if there is none."""
    cause = alert.cause or MailAlertCause()
    value = alert.resolved_value if alert.state == RESOLVED else alert.value
    if cause.event is not None:
        return _event_words(cause.event, texts)
    if value is None:
        return ""
    if cause.function == _NO_DATA:
        # A silence ends by a message, not by a value.
        return "" if alert.state == RESOLVED else _silence(alert.metric, value, texts)
    if cause.index is not None:
        return _index_figure(alert, cause.index, value, texts)
    return "" if alert.metric is None else _value(alert, alert.metric, value, texts)


def _index_figure(alert: MailAlertData, index: MailIndexCause, value: float, texts: MailTexts) -> str:
    unit = clean_line(index.unit, _WORD)
    figure = f"{_index_name(index, texts)} {format_exact_measurement(value, unit, texts.language)}"
    if alert.state == RESOLVED:
        return figure
    figure += f", {words}" if (words := _band_words(index.band, texts)) else ""
    limit = "" if alert.threshold is None else format_exact_measurement(alert.threshold, "", texts.language)
    limit = limit or _band_words(index.limit_band, texts)
    return f"{figure} ({texts.limit.format(limit)})" if limit else figure


def _index_name(index: MailIndexCause, texts: MailTexts) -> str:
    title = index.title_fr if texts.language == "fr" else index.title
    name = clean_line(title or index.method, _TITLE)
    return name if index.metric is None else f"{name} ({clean_line(index.metric, _WORD)})"


def _band_words(band: MailIndexBand | None, texts: MailTexts) -> str:
    if band is None:
        return ""
    return clean_line(band.label_fr if texts.language == "fr" else band.label, _WORD)


def _value(alert: MailAlertData, metric: str, value: float, texts: MailTexts) -> str:
    unit = get_metric_unit(metric, None if alert.cause is None else alert.cause.function)
    figure = f"{clean_line(metric, _WORD)} {format_exact_measurement(value, unit, texts.language)}"
    if alert.threshold is None or alert.state == RESOLVED:
        return figure
    # A range has two bounds, of which this is one. The unit is not repeated.
    limit = texts.upper_bound if alert.clear is None else texts.limit
    return f"{figure} ({limit.format(format_exact_measurement(alert.threshold, '', texts.language))})"


def _silence(metric: str | None, seconds: float, texts: MailTexts) -> str:
    lasted = format_duration(seconds, texts.language)
    if metric is None:
        return texts.silence.format(lasted)
    return texts.silence_of.format(metric=clean_line(metric, _WORD), duration=lasted)


def _event_words(event: Mapping[str, object], texts: MailTexts) -> str:
    """Name a recognised event with its candidate and its confidence."""
    kind = clean_line(str(event.get("type") or ""), _WORD)
    parts = [clean_line(str(event[name]), _WORD) for name in ("class", "model") if event.get(name)]
    confidence = event.get("confidence")
    if isinstance(confidence, int | float):
        parts.append(format_percent(100 * confidence, texts.language))
    words = texts.recognised.get(kind, kind)
    return f"{words} ({', '.join(parts)})" if parts else words


def list_comparison_values(
    alert: MailAlertData, zone: str | None, texts: MailTexts
) -> Iterator[tuple[str, str | None]]:
    """Yield the measured or recognised values and their limits, as (key of a label, value)."""
    cause = alert.cause or MailAlertCause()
    if cause.event is not None:
        yield "event", _event_words(cause.event, texts)
        yield "event_at", format_local_time(str(cause.event.get("time")), zone, texts.language, seconds=True)
        if alert.threshold:
            yield "confidence", format_percent(100 * alert.threshold, texts.language)
    elif cause.function == _NO_DATA:
        if alert.metric is not None:
            yield "value", describe_metric(alert.metric, texts.language)
        yield "silent", None if alert.value is None else format_duration(alert.value, texts.language)
        yield "allowed", None if alert.threshold is None else format_duration(alert.threshold, texts.language)
    elif cause.index is not None:
        yield from _index_values(alert, cause.index, zone, texts)
    elif alert.metric is not None:
        yield from _values(alert, alert.metric, cause, texts)


def _index_values(
    alert: MailAlertData, index: MailIndexCause, zone: str | None, texts: MailTexts
) -> Iterator[tuple[str, str | None]]:
    """Yield an index with its period, its class and its limit."""
    unit = clean_line(index.unit, _WORD)
    words = _index_name(index, texts)
    if alert.value is not None:
        words += f"{texts.colon}{format_exact_measurement(alert.value, unit, texts.language)}"
    band = _band_words(index.band, texts)
    yield "value", f"{words}, {band}" if band else words
    if index.period is not None:
        yield "period_end", format_local_time(str(index.period.get("end")), zone, texts.language)
    if alert.threshold is not None:
        yield "limit", format_exact_measurement(alert.threshold, unit, texts.language)
    elif index.limit_band is not None:
        yield "limit", _band_words(index.limit_band, texts)
    if alert.clear is not None and alert.clear != alert.threshold:
        yield "clear", format_exact_measurement(alert.clear, unit, texts.language)
    if alert.resolved_value is not None:
        yield "resolved_value", format_exact_measurement(alert.resolved_value, unit, texts.language)


def _values(
    alert: MailAlertData, metric: str, cause: MailAlertCause, texts: MailTexts
) -> Iterator[tuple[str, str]]:
    unit = get_metric_unit(metric, cause.function)
    words = describe_metric(metric, texts.language) + _over(cause, texts)
    if alert.value is not None:
        words += f"{texts.colon}{format_exact_measurement(alert.value, unit, texts.language)}"
    yield "value", words
    if alert.threshold is not None:
        name = "upper_bound" if alert.clear is None else "limit"
        yield name, format_exact_measurement(alert.threshold, unit, texts.language)
    if alert.clear is not None and alert.clear != alert.threshold:
        yield "clear", format_exact_measurement(alert.clear, unit, texts.language)
    if alert.resolved_value is not None:
        yield "resolved_value", format_exact_measurement(alert.resolved_value, unit, texts.language)


def _over(cause: MailAlertCause, texts: MailTexts) -> str:
    """Name the function of a window; empty for a sample's own value."""
    if cause.function is None:
        return ""
    words = texts.functions.get(cause.function) or clean_line(cause.function, _WORD)
    with suppress(RejectedError):
        if cause.window is not None:
            window = format_duration(parse_iso_duration(cause.window), texts.language)
            words = texts.over.format(function=words, window=window)
    return f", {words}"
