"""Adds the metrics of a migration: the catalogue's entries that name it as their `since`."""

from alembic import op
from sqlalchemy import Double, Text, bindparam, column, table
from sqlalchemy.dialects.postgresql import insert

from app.catalogue.metrics import CATALOGUE
from migrations.granted_views import renew_granted_views
from migrations.open_data_views import renew_open_data_views
from migrations.recent_view import renew_recent_view
from migrations.samples_view import renew_samples_view

_METRICS = table(
    "metrics",
    column("name", Text),
    column("unit", Text),
    column("description", Text),
    column("minimum", Double),
    column("maximum", Double),
    column("kind", Text),
)


def add_metrics(since: str) -> None:
    """Add a column of `samples` and a row of `metrics` for each catalogue entry with this `since`."""
    for metric in (entry for entry in CATALOGUE if entry.since == since):
        op.execute(f'ALTER TABLE samples ADD COLUMN IF NOT EXISTS "{metric.name}" {metric.storage}')
        row = {
            "name": metric.name,
            "unit": metric.unit,
            "description": metric.description,
            "minimum": metric.minimum,
            "maximum": metric.maximum,
            "kind": metric.kind,
        }
        statement = insert(_METRICS).values({name: bindparam(name, value) for name, value in row.items()})
        op.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
    renew_samples_view()
    renew_recent_view()
    renew_open_data_views()
    renew_granted_views()
