"""Creates the triggers that record a table's changes in the audit log.

The triggers name the columns of the table. A column is one of:

- recorded, with its values;
- hidden: a secret or personal data. The log has only that it changed, because no entry can be removed;
- ignored: the program itself writes it.

A migration that adds a column decides which. `tests/integration/audit/test_watched.py` checks it.
"""

from collections.abc import Sequence
from typing import Final

from alembic import op

# Changes by these roles are the program's work. A cascade runs as the tables' owner, so the session user
# counts.
BY_PEOPLE: Final = (
    "current_setting('role') NOT IN ('vigie_ingest', 'vigie_deliver', 'vigie_maintain')"
    " AND session_user NOT IN ('vigie_ingest', 'vigie_deliver', 'vigie_maintain')"
)
"""A trigger's condition: the change does not come from a process that works for all organisations."""

EVERY_CHANGE: Final = ("INSERT", "UPDATE", "DELETE")


def watch(
    table: str,
    noun: str,
    recorded: Sequence[str],
    *,
    hidden: Sequence[str] = (),
    owner: str = "organisation_id",
    key: str = "id",
    name: str = "name",
    changes: Sequence[str] = EVERY_CHANGE,
    cascades: bool = True,
) -> None:
    """Create a table's triggers; a second call replaces its columns.

    Args:
        table: The table.
        noun: The name of a row in `action` and `subject`.
        recorded: The columns whose values are recorded.
        hidden: The columns of which only the change is recorded.
        owner: The column that determines the log: an organisation's id, or `box_key` of one of its boxes.
        key: The column that identifies a row for people.
        name: The column with a row's name; empty if no name may be recorded.
        changes: The recorded operations, of INSERT, UPDATE and DELETE.
        cascades: Whether changes by foreign keys and other triggers are recorded.
    """
    arguments = ", ".join(
        f"'{value}'"
        for value in (noun, owner, key, name, f"{{{','.join(recorded)}}}", f"{{{','.join(hidden)}}}")
    )
    unwatch(table)
    condition = BY_PEOPLE if cascades else f"{BY_PEOPLE} AND pg_trigger_depth() = 0"
    how = {
        # Often many rows are inserted in one statement, but rarely updated or deleted.
        "INSERT": ("INSERT", "REFERENCING NEW TABLE AS added FOR EACH STATEMENT", "audit_created"),
        "UPDATE": (f"UPDATE OF {', '.join((*recorded, *hidden))}", "FOR EACH ROW", "audit_changed"),
        "DELETE": ("DELETE", "FOR EACH ROW", "audit_changed"),
    }
    for change in changes:
        event, each, function = how[change]
        op.execute(
            f"CREATE TRIGGER audit_{change.lower()} AFTER {event} ON {table} {each} "
            f"WHEN ({condition}) EXECUTE FUNCTION {function}({arguments})"
        )
    op.execute(
        f"CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION audit_truncated('{noun}')"
    )


def unwatch(table: str) -> None:
    """Drop the triggers of `watch`."""
    for change in ("insert", "update", "delete", "truncate"):
        op.execute(f"DROP TRIGGER IF EXISTS audit_{change} ON {table}")
