"""Creates views that rooms publish, so that a statement of another room does not name their tables.

A view's name begins with the room that publishes it, and the view has a few columns of one table. It has no
condition, grouping or limit, so that the planner replaces it by the table. With `security_invoker` the
policies and column privileges of the reading role apply, as if the statement named the table.

A role needs the privilege on each column of a view, also on those that a statement does not use. So a view
has only columns that all its roles may read.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, DELIVER, INGEST, MAINTAIN, grant

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE alerts, boxes, events, former_boxes, rules, sites IN ACCESS SHARE MODE"
# View → its table, its columns, and the roles that may read it.
_VIEWS: Final = {
    "registry_boxes": (
        "boxes",
        "key, id, organisation_id, site_id, name, longitude, latitude, tags, deleted_at",
        (API, INGEST, MAINTAIN),
    ),
    "registry_former_boxes": ("former_boxes", "box, organisation_id", (API, INGEST)),
    "registry_sites": ("sites", "id, name, timezone", (API, INGEST, MAINTAIN)),
    "timeseries_events": (
        "events",
        "id, box_key, time, type, candidates, level_db, clock_error_ms",
        (MAINTAIN,),
    ),
    "rules_definitions": ("rules", "id, name, definition", (API, INGEST, MAINTAIN)),
    "alerts_muting": ("alerts", "id, state, updated_at, suppressed", (DELIVER,)),
}


def upgrade() -> None:
    """Create the views."""
    op.execute(_LOCK)
    for name, (table, columns, roles) in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} WITH (security_invoker) AS SELECT {columns} FROM {table}")  # noqa: S608 (constants)
        grant("SELECT", name, *roles)


def downgrade() -> None:
    """Drop the views."""
    for name in _VIEWS:
        op.execute(f"DROP VIEW {name}")
