"""Generates the table of SensorThings' observed properties from the catalogue."""

from collections.abc import Callable, Mapping
from typing import Final

from app.catalogue.metrics import CATALOGUE
from app.catalogue.vocabularies import METRIC_DEFINITIONS, get_metric_unit
from app.sensorthings.entity_model import make_property_id
from tools.markdown_tables import render_rows


def observed_properties() -> str:
    rows = [
        (
            make_property_id(metric.name),
            f"`{metric.name}`",
            metric.description,
            f"`{get_metric_unit(metric.name).code}`",
            METRIC_DEFINITIONS[metric.name] or "none",
        )
        for metric in CATALOGUE
    ]
    return render_rows("id", "metric", "what", "UCUM", "definition", body=rows)


OBSERVED_PROPERTY_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "observed-properties": observed_properties
}
"""The tables by name."""
