"""The purposes: each metric has exactly one, and what settings name is what there is."""

from collections import Counter
from typing import get_args

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import (
    EVENT_PURPOSES,
    PURPOSE_BY_EVENT_TYPE,
    PURPOSE_BY_METRIC,
    PURPOSES,
    PURPOSES_BY_NAME,
    SAMPLE_PURPOSES,
    PurposeName,
)


def test_every_metric_has_exactly_one_purpose() -> None:
    counted = Counter(metric for purpose in PURPOSES for metric in purpose.metrics)
    assert counted == Counter(COLUMNS)
    assert PURPOSE_BY_METRIC.keys() == set(COLUMNS)


def test_metrics_stand_in_the_order_of_the_catalogue() -> None:
    for purpose in SAMPLE_PURPOSES:
        assert list(purpose.metrics) == sorted(purpose.metrics, key=COLUMNS.index)


def test_every_type_of_events_has_exactly_one_purpose() -> None:
    listed = [event for purpose in EVENT_PURPOSES for event in purpose.events]
    assert sorted(listed) == sorted(EVENT_TYPE_OF)
    assert PURPOSE_BY_EVENT_TYPE["gunshot"] == "acoustic_safety"
    assert all(PURPOSES_BY_NAME[PURPOSE_BY_EVENT_TYPE[event]].events for event in listed)


def test_names_are_those_of_settings_and_are_said_in_two_languages() -> None:
    assert list(PURPOSES_BY_NAME) == list(get_args(PurposeName.__value__))
    titles = [title for purpose in PURPOSES for title in (purpose.title, purpose.title_fr)]
    assert all(titles)
    assert len(set(titles)) == len(titles)
