"""Adds typed conditions, levels and versions to rules.

`definition` replaces `condition`: one level with the rule's severity and condition. The downgrade retains the
first of several levels. It disables rules that the older program would misread: rules for some boxes or
hours, and dry runs. It marks rules whose condition the older program cannot read as deleted; the row retains
the condition.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = "name, severity, condition, enabled, version, deleted_at"
_AFTER = "name, severity, definition, enabled, dry_run, version, deleted_at"
_TRIGGERS = {"registry_next": "STATEMENT", "registry_stamp": "ROW"}

_DEFINE = """
UPDATE rules SET definition = jsonb_build_object(
    'levels', jsonb_build_array(jsonb_build_object(
        'severity', severity,
        'condition', jsonb_strip_nulls(jsonb_build_object(
            'clear', condition -> 'threshold', 'for', 'PT0S', 'repeat', 1, 'keep_firing_for', 'PT0S'
        )) || condition
    )),
    'scope', NULL,
    'active', NULL,
    'max_age', 'PT1H',
    'escalations', '[]'::jsonb,
    'remind_every', NULL
)
"""
_VERSIONS = (
    """
    CREATE TABLE rule_versions (
        rule_id uuid NOT NULL REFERENCES rules ON DELETE CASCADE,
        version integer NOT NULL,
        name text NOT NULL,
        description text,
        definition jsonb NOT NULL,
        enabled boolean NOT NULL,
        dry_run boolean NOT NULL,
        deleted boolean NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid,
        PRIMARY KEY (rule_id, version)
    )
    """,
    """
    INSERT INTO rule_versions (rule_id, version, name, definition, enabled, dry_run, deleted, created_at)
    SELECT id, version, name, definition, enabled, dry_run, deleted_at IS NOT NULL, updated_at FROM rules
    """,
)
_UNDEFINE = """
UPDATE rules r SET
    condition = CASE WHEN n.plain THEN n.condition - 'repeat' - 'keep_firing_for' ELSE n.condition END,
    severity = r.definition -> 'levels' -> 0 ->> 'severity',
    enabled = r.enabled AND NOT r.dry_run
        AND r.definition -> 'scope' = 'null' AND r.definition -> 'active' = 'null',
    deleted_at = CASE WHEN n.plain THEN r.deleted_at ELSE coalesce(r.deleted_at, now()) END
FROM (
    SELECT id, condition, condition ? 'threshold'
        AND jsonb_typeof(condition -> 'threshold') = 'number'
        AND jsonb_typeof(condition -> 'clear') = 'number'
        AND NOT condition ?| ARRAY['function', 'box'] AS plain
    FROM (SELECT id, definition -> 'levels' -> 0 -> 'condition' AS condition FROM rules) AS first
) AS n
WHERE n.id = r.id
"""


def _unwatch() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON rules")


def _watch(columns: str) -> None:
    for name, each in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OF {columns} ON rules "
            f"FOR EACH {each} EXECUTE FUNCTION {name}()"
        )


def upgrade() -> None:
    _unwatch()
    op.execute(
        """
        ALTER TABLE rules
            ADD COLUMN description text,
            ADD COLUMN definition jsonb,
            ADD COLUMN dry_run boolean NOT NULL DEFAULT false,
            ADD COLUMN effort integer NOT NULL DEFAULT 0
        """
    )
    op.execute(_DEFINE)
    op.execute("ALTER TABLE rules ALTER COLUMN definition SET NOT NULL, ALTER COLUMN dry_run DROP DEFAULT")
    op.execute("ALTER TABLE rules DROP COLUMN condition")
    for statement in _VERSIONS:
        op.execute(statement)
    _watch(_AFTER)


def downgrade() -> None:
    _unwatch()
    op.execute("DROP TABLE rule_versions")
    op.execute("ALTER TABLE rules ADD COLUMN condition jsonb")
    op.execute(_UNDEFINE)
    op.execute("ALTER TABLE rules ALTER COLUMN condition SET NOT NULL")
    added = ("definition", "description", "dry_run", "effort")
    op.execute(f"ALTER TABLE rules {', '.join(f'DROP COLUMN {name}' for name in added)}")
    _watch(_BEFORE)
