"""Vocabularies cover the catalogue."""

from app.catalogue.metrics import CATALOGUE
from app.catalogue.vocabularies import METRIC_DEFINITIONS, UCUM_UNITS


def test_each_metric_has_an_entry_and_a_unit() -> None:
    assert set(METRIC_DEFINITIONS) == {metric.name for metric in CATALOGUE}
    assert set(UCUM_UNITS) == {metric.unit for metric in CATALOGUE}


def test_definitions_are_addresses() -> None:
    for address in (
        *filter(None, METRIC_DEFINITIONS.values()),
        *(each.definition for each in UCUM_UNITS.values()),
    ):
        assert address.startswith("http://")
        assert " " not in address
