"""What a site's page says of the last 24 hours: a card for each open metric. Pure."""

from typing import Any

from app.catalogue.metrics import METRICS_BY_NAME
from app.indicators.index_results import NO_VALUE_REASONS
from app.public_register import line_charts
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import IndexValue, RecentMeasurements, RecentMetric, SiteMean


def build_recent_context(recent: RecentMeasurements, writing: RegisterFormatter) -> dict[str, Any]:
    """Make what the template has of the last day: indices of the site, and a card for each metric."""
    return {
        "indices": [_index(each, writing) for each in recent.indices],
        "cards": [_card(each, recent, writing) for each in recent.metrics],
    }


def _card(each: RecentMetric, recent: RecentMeasurements, writing: RegisterFormatter) -> dict[str, Any]:
    metric = METRICS_BY_NAME[each.metric]
    formats = writing.formats
    left_out = ""
    if each.left_out:
        left_out = formats.counted(each.left_out, WORDS["left_out_one"], WORDS["left_out_many"])
    return {
        "name": each.metric,
        "title": formats.words(each.metric),
        "value": "" if each.newest is None else formats.measured(each.newest.mean, metric.unit),
        "when": "" if each.newest is None else _when(each.newest, writing),
        "coverage": writing.word("coverage").format(share=formats.percent(each.coverage)),
        "left_out": left_out,
        "indices": [_index(index, writing) for index in each.indices],
        "chart": line_charts.draw_line_chart(
            metric, each.values, "quarter", recent.at, writing, spacing_s=float(each.spacing_s)
        )
        if each.values
        else None,
    }


def _when(newest: SiteMean, writing: RegisterFormatter) -> str:
    at = writing.word("newest_at").format(
        day=writing.day(newest.time), clock=writing.clock_there(newest.time)
    )
    if newest.count == 1:
        return at
    return at + writing.word("newest_of").format(count=writing.number(newest.count))


def _index(each: IndexValue, writing: RegisterFormatter) -> dict[str, str]:
    """An index in a sentence; its colour is told too, never alone."""
    formats = writing.formats
    if each.band is not None:
        value = writing.said(each.band.label)
    elif each.value is not None:
        value = formats.measured(each.value, each.unit)
    else:
        value = ""
    of = {
        "title": writing.said(each.title),
        "start": writing.clock_there(each.start),
        "end": writing.clock_there(each.end),
    }
    if value or each.reason is None:
        said = writing.filled(WORDS["index_of"], **of, share=formats.percent(each.coverage))
    else:
        reason = writing.said(NO_VALUE_REASONS[each.reason])
        said = writing.filled(WORDS["index_without"], **of, reason=reason[0].lower() + reason[1:])
    return {
        "value": value,
        "said": said,
        "colour": each.band.colour or "" if each.band is not None else "",
        "notes": " ".join(writing.said(note) for note in each.notes),
    }
