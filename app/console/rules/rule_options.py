"""Lists the choices of the rule form, in the person's language. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from app.catalogue.device_event_types import EVENT_TYPES
from app.console.framework.metric_names import label_metric
from app.console.framework.page_translation import PageTranslator

type Options = list[tuple[str, str]]
"""Pairs of a value and its label."""

_OPERATORS: Final = (">", ">=", "<", "<=")


def describe_kinds(texts: PageTranslator) -> Options:
    """List the kinds of condition."""
    return [
        ("value", texts.t("A value")),
        ("range", texts.t("A range")),
        ("window", texts.t("A mean or peak")),
        ("silence", texts.t("No data")),
        ("event", texts.t("A recognised event")),
        ("band", texts.t("The class of an index")),
        ("index", texts.t("The value of an index")),
    ]


def list_operators(texts: PageTranslator) -> Options:
    """List the comparisons with one number."""
    labels = (
        texts.t("is above"),
        texts.t("is at or above"),
        texts.t("is below"),
        texts.t("is at or below"),
    )
    return list(zip(_OPERATORS, labels, strict=True))


def list_sides(texts: PageTranslator) -> Options:
    """List the comparisons with a range."""
    return [("outside", texts.t("is outside of")), ("inside", texts.t("is within"))]


def list_functions(texts: PageTranslator) -> Options:
    """List the functions over a window."""
    return [
        ("mean", texts.t("the mean")),
        ("energy_mean", texts.t("the energy mean (decibels)")),
        ("max", texts.t("the maximum")),
        ("min", texts.t("the minimum")),
        ("percentile", texts.t("a percentile")),
        ("sum", texts.t("the sum")),
        ("rate", texts.t("the change per hour")),
        ("spread", texts.t("the spread (maximum minus minimum)")),
        ("count", texts.t("the number of values")),
    ]


def list_severities(texts: PageTranslator) -> Options:
    """List the severities, the least severe first."""
    return [("info", texts.t("Info")), ("warning", texts.t("Warning")), ("critical", texts.t("Critical"))]


def list_units(texts: PageTranslator) -> Options:
    """List the units of durations."""
    return [
        ("s", texts.t("seconds")),
        ("min", texts.t("minutes")),
        ("h", texts.t("hours")),
        ("d", texts.t("days")),
    ]


def list_days(texts: PageTranslator) -> Options:
    """List the days of the week."""
    return [
        ("mon", texts.t("Mon")),
        ("tue", texts.t("Tue")),
        ("wed", texts.t("Wed")),
        ("thu", texts.t("Thu")),
        ("fri", texts.t("Fri")),
        ("sat", texts.t("Sat")),
        ("sun", texts.t("Sun")),
    ]


def list_periods(texts: PageTranslator, lengths: Sequence[str]) -> Options:
    """List the periods of an index."""
    names = {
        "hour": texts.t("an hour"),
        "day": texts.t("a day"),
        "week": texts.t("a week"),
        "weeks": texts.t("four weeks"),
        "month": texts.t("a month"),
        "year": texts.t("a year"),
    }
    return [(length, names.get(length, length)) for length in lengths]


def list_states(texts: PageTranslator, present: str) -> Options:
    """List the states of a rule; one that only an earlier change can make is listed if it is present."""
    states = [
        ("live", texts.t("Live: notifies")),
        ("dry_run", texts.t("Dry run: records alerts, notifies nobody")),
        ("off", texts.t("Off")),
    ]
    if present == "off_dry_run":
        states.append(("off_dry_run", texts.t("Off, and a dry run once enabled")))
    return states


def list_metrics(metrics: Sequence[Mapping[str, Any]], texts: PageTranslator) -> list[tuple[str, str, str]]:
    """List the metrics of the catalogue as value, label with unit, and unit."""
    language = texts.formatter.language
    return [
        (each["name"], f"{label_metric(each['name'], language)} ({each['unit']})", each["unit"])
        for each in metrics
    ]


def group_metrics(
    options: Sequence[tuple[str, str, str]], measured: Collection[str], texts: PageTranslator
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Group metrics: those that the site measures first. One group without a label if that is unknown."""
    here = [each for each in options if each[0] in measured]
    others = [each for each in options if each[0] not in measured]
    if not here:
        return [("", others)]
    return [(texts.t("Measured at this site"), here), (texts.t("Others"), others)]


def name_fields(names: Collection[str], texts: PageTranslator) -> list[str]:
    """Name fields of the form that a rule still needs, in the order of the sentence."""
    labels = {
        "site": texts.t("Site"),
        "kind": texts.t("What is compared"),
        "metric": texts.t("Metric"),
        "event": texts.t("Event"),
        "index": texts.t("Index"),
        "index_metric": texts.t("Metric"),
        "period": texts.t("Period"),
        "window": texts.t("Window"),
        "threshold_1": texts.t("Threshold"),
        "low_1": texts.t("Lower bound"),
        "high_1": texts.t("Upper bound"),
        "band_1": texts.t("Class"),
        "no_data_1": texts.t("No data for"),
        "severity_1": texts.t("Severity"),
    }
    return [label for name, label in labels.items() if name in names]


def list_indices(
    indices: Sequence[Mapping[str, Any]], texts: PageTranslator, *, banded: bool = False
) -> Options:
    """List the indices that rules may use; `banded`: only those with classes."""
    title = "title_fr" if texts.formatter.language == "fr" else "title"
    return [
        (each["name"], each[title]) for each in indices if each["periods"] and (each["bands"] or not banded)
    ]


def list_event_types(texts: PageTranslator, present: str) -> Options:
    """List the types of events, and that of the rule if it is another one."""
    french = texts.formatter.language == "fr"
    types = [(each.name, each.title_fr if french else each.title) for each in EVENT_TYPES]
    known = {name for name, _ in types}
    return types if present in known or not present else [*types, (present, present)]


def list_bands(index: Mapping[str, Any] | None, texts: PageTranslator) -> Options:
    """List the classes of an index, the best first."""
    label = "label_fr" if texts.formatter.language == "fr" else "label"
    return [] if index is None else [(each["key"], each[label]) for each in index["bands"]]
