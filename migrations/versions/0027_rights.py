"""Creates rights requests of people: the request, its deadline, and the answers.

Anybody can send one and read it again with a token, of which only the hash is stored. Names, messages and
answers are personal data: the audit log has only that they changed. Requests are deleted some time after
their end.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import API, MAINTAIN, grant, open_to, organisation_in_reach, protect, site_in_reach

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_TABLE: Final = """
CREATE TABLE rights_requests (
    id uuid PRIMARY KEY,
    reference text NOT NULL UNIQUE,
    token_hash bytea NOT NULL,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    site_id uuid REFERENCES sites ON DELETE SET NULL,
    kind text NOT NULL,
    language text NOT NULL,
    name text,
    contact text,
    message text NOT NULL,
    begins_at timestamptz,
    ends_at timestamptz,
    state text NOT NULL DEFAULT 'received'
        CHECK (state IN ('received', 'in_progress', 'answered', 'withdrawn')),
    received_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    extended_at timestamptz,
    extension_reason text,
    closed_at timestamptz,
    outcome text,
    answer text,
    handled_by uuid,
    handled_kind text,
    note text,
    overdue_told_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((closed_at IS NULL) = (state IN ('received', 'in_progress'))),
    CHECK ((outcome IS NULL) = (state <> 'answered') AND (answer IS NULL) = (outcome IS NULL)),
    CHECK (begins_at IS NULL OR ends_at IS NULL OR ends_at > begins_at)
)
"""
_RECORDED: Final = (
    *("organisation_id", "reference", "site_id", "kind", "state", "due_at", "extended_at", "closed_at"),
    *("outcome", "handled_by"),
)
_HIDDEN: Final = ("name", "contact", "message", "answer", "note", "extension_reason")
# The maintain role reports overdue requests, and deletes those that were closed long ago.
_FOR_MAINTAIN: Final = (
    "SELECT (id, reference, organisation_id, site_id, kind, state, received_at, due_at, closed_at, "
    "overdue_told_at), UPDATE (overdue_told_at), DELETE"
)
# The types of events that the maintain role may insert.
_TELLS_NOW: Final = "type LIKE ANY ('{alert.%,quota.%,platform.%,incident.%,rights.%}')"
_TELLS_BEFORE: Final = "type LIKE ANY ('{alert.%,quota.%,platform.%,incident.%}')"
_ALTER: Final = "ALTER POLICY told_by_vigie_maintain ON outbox WITH CHECK"


def upgrade() -> None:
    """Create the tables of requests."""
    op.execute(_TABLE)
    op.execute("CREATE INDEX ix_rights_requests_organisation_id ON rights_requests (organisation_id, id)")
    op.execute("CREATE INDEX ix_rights_requests_site_id ON rights_requests (site_id)")
    op.execute("CREATE INDEX ix_rights_requests_open ON rights_requests (due_at) WHERE closed_at IS NULL")
    op.execute(
        "CREATE INDEX ix_rights_requests_closed ON rights_requests (closed_at) WHERE closed_at IS NOT NULL"
    )
    protect("rights_requests", f"{organisation_in_reach()} AND {site_in_reach()}")
    open_to("rights_requests", (MAINTAIN,))
    grant("SELECT, INSERT, UPDATE, DELETE", "rights_requests", API)
    grant(_FOR_MAINTAIN, "rights_requests", MAINTAIN)
    op.execute(f"{_ALTER} ({_TELLS_NOW})")
    watch("rights_requests", "rights_request", _RECORDED, hidden=_HIDDEN, name="reference")


def downgrade() -> None:
    """Drop the requests."""
    unwatch("rights_requests")
    op.execute(f"{_ALTER} ({_TELLS_BEFORE})")
    op.execute("DROP TABLE rights_requests")
