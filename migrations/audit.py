"""How a migration has the changes of a table recorded in the audit log, and of which columns.

A column is recorded, or hidden (a secret, or the data of persons: the log says that it changed, never what
it is, for nothing can be taken out of the log), or of no account (what the program itself writes). The
triggers of a table name its columns: whoever adds one says here, in the migration, what it is
(`tests/integration/audit/test_watched.py` asks for it).
"""

from collections.abc import Sequence
from typing import Final

from alembic import op

# What these do is the program's work, not people's. A cascade runs as the tables' owner: the session tells.
BY_PEOPLE: Final = (
    "current_setting('role') NOT IN ('vigie_ingest', 'vigie_deliver', 'vigie_maintain')"
    " AND session_user NOT IN ('vigie_ingest', 'vigie_deliver', 'vigie_maintain')"
)
"""A condition of a trigger: not one of the processes that work for everybody."""

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
    """Have a table's changes recorded; once more for other columns.

    Args:
        table: Its name.
        noun: What a row is called in `action` and `subject`.
        recorded: The columns whose values are recorded.
        hidden: Those of which only is recorded that they changed.
        owner: The column that says whose log it is: an organisation's id, or `box_key` of a box of its.
        key: The column that identifies a row for people.
        name: The one with its name; empty where it has none that may be recorded.
        changes: Of INSERT, UPDATE and DELETE those that count.
        cascades: Whether rows count that go with others.
    """
    arguments = ", ".join(
        f"'{value}'"
        for value in (noun, owner, key, name, f"{{{','.join(recorded)}}}", f"{{{','.join(hidden)}}}")
    )
    unwatch(table)
    condition = BY_PEOPLE if cascades else f"{BY_PEOPLE} AND pg_trigger_depth() = 0"
    how = {
        # Of rows that are added there are many at once, of others hardly ever.
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
    """Undo `watch`."""
    for change in ("insert", "update", "delete", "truncate"):
        op.execute(f"DROP TRIGGER IF EXISTS audit_{change} ON {table}")
