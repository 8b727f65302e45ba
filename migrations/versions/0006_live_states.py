"""Adds the states of rules on windows, silence and whole sites.

No rule evaluates a late value, neither live nor in a back-test. `samples.late` marks late values with one bit
per metric, in the order of the catalogue. `box_states.due_us` is the time at which a rule of a box must be
evaluated even if no sample arrives.

From now on the state of a rule on a box is [version, alert or null, levels], because it may have several
levels.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WATCHED = {
    "boxes": (
        "id, organisation_id, site_id, interval_s, ack, deleted_at, shared_until",
        "id, organisation_id, site_id, interval_s, ack, deleted_at, shared_until, kind, tags, attributes",
    ),
    "sites": (
        "organisation_id, retention_days, timezone",
        "organisation_id, retention_days, timezone, attributes",
    ),
}
_TRIGGERS = {
    "registry_next": "STATEMENT",
    "registry_stamp": "ROW",
}
_ADD = (
    "ALTER TABLE samples ADD COLUMN late bigint",
    "ALTER TABLE events ADD COLUMN late boolean NOT NULL DEFAULT false",
    "ALTER TABLE box_states ADD COLUMN due_us bigint",
    "CREATE INDEX ix_box_states_due_us ON box_states (due_us) WHERE due_us IS NOT NULL",
    """
    ALTER TABLE boxes
        ADD COLUMN kind text,
        ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
        ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    """,
    "ALTER TABLE sites ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'",
    """
    CREATE TABLE site_states (
        site_id uuid PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
        rules jsonb NOT NULL DEFAULT '{}',
        due_us bigint
    )
    """,
    "CREATE INDEX ix_site_states_due_us ON site_states (due_us) WHERE due_us IS NOT NULL",
)
_CONVERT = """
UPDATE box_states b SET rules = (
    SELECT jsonb_object_agg(e.key, CASE e.value ->> 0
        WHEN 'pending' THEN jsonb_build_array(
            e.value -> 2, NULL, jsonb_build_array(jsonb_build_array(0, e.value -> 1, 1)))
        ELSE jsonb_build_array(
            e.value -> 2,
            jsonb_build_array(e.value -> 3, e.value -> 4, e.value -> 5, e.value -> 1, 0),
            jsonb_build_array(jsonb_build_array(1, e.value -> 1, NULL)))
        END)
    FROM jsonb_each(b.rules) AS e
) WHERE b.rules <> '{}'
"""
# A rule with several levels continues as if its first level fired or waited.
_CONVERT_BACK = """
UPDATE box_states b SET rules = coalesce((
    SELECT jsonb_object_agg(e.key, CASE
        WHEN e.value -> 1 = 'null' THEN jsonb_build_array('pending', e.value -> 2 -> 0 -> 1, e.value -> 0)
        ELSE jsonb_build_array('firing', e.value -> 1 -> 3, e.value -> 0, e.value -> 1 -> 0,
                               e.value -> 1 -> 1, e.value -> 1 -> 2)
        END)
    FROM jsonb_each(b.rules) AS e
    WHERE e.value -> 1 <> 'null' OR e.value -> 2 -> 0 <> 'null'
), '{}') WHERE b.rules <> '{}'
"""


def _watch(which: int) -> None:
    for table, columns in _WATCHED.items():
        for function, each in _TRIGGERS.items():
            op.execute(f"DROP TRIGGER {function} ON {table}")
            op.execute(
                f"CREATE TRIGGER {function} BEFORE INSERT OR UPDATE OF {columns[which]} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION {function}()"
            )


def upgrade() -> None:
    for statement in _ADD:
        op.execute(statement)
    _watch(1)
    op.execute(_CONVERT)


def downgrade() -> None:
    op.execute(_CONVERT_BACK)
    _watch(0)
    op.execute("DROP TABLE site_states")
    op.execute("ALTER TABLE sites DROP COLUMN attributes")
    op.execute("ALTER TABLE boxes DROP COLUMN kind, DROP COLUMN tags, DROP COLUMN attributes")
    op.execute("ALTER TABLE box_states DROP COLUMN due_us")
    op.execute("ALTER TABLE events DROP COLUMN late")
    op.execute("ALTER TABLE samples DROP COLUMN late")
