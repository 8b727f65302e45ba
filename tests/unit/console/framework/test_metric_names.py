"""Metrics are found in lists by what people type."""

import pytest

from app.catalogue.metrics import CATALOGUE
from app.console.framework.metric_names import label_metric, name_metric


@pytest.mark.parametrize(
    ("metric", "english", "french"),
    [
        ("pm10", "PM10 \N{EN DASH} particles up to 10", "PM10 \N{EN DASH} particules jusqu"),
        ("no2", "NO2 \N{EN DASH} nitrogen dioxide", "NO2 \N{EN DASH} dioxyde d"),
        ("pm2_5", "PM2.5 \N{EN DASH} particles", "PM2,5 \N{EN DASH} particules"),
        ("humidity", "Relative humidity", "Humidité relative"),
    ],
)
def test_a_choice_begins_with_the_code(metric: str, english: str, french: str) -> None:
    assert label_metric(metric, "en").startswith(english)
    assert label_metric(metric, "fr").startswith(french)


def test_no_two_metrics_have_the_same_label() -> None:
    for language in ("en", "fr"):
        assert len({label_metric(each.name, language) for each in CATALOGUE}) == len(CATALOGUE)


def test_a_short_name_is_a_symbol_or_a_word() -> None:
    assert [name_metric(each, "fr") for each in ("pm2_5", "laeq", "humidity", "rssi")] == [
        "PM2,5",
        "LAeq",
        "Humidité",
        "Signal radio",
    ]
