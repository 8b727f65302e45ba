"""Creates back-tests: the request, the lease of the process that runs it, and the result.

`rule` and `against` are copies of the rules at the time of the request.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_backtests_organisation_id": "(organisation_id, id)",
    "ix_backtests_site_id": "(site_id)",
    "ix_backtests_waiting": "(created_at) WHERE state IN ('queued', 'running')",
    "ix_backtests_finished_at": "(finished_at)",
}


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE backtests (
            id uuid PRIMARY KEY,
            organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
            site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
            rule jsonb NOT NULL,
            against jsonb,
            boxes text[],
            begins_at timestamptz NOT NULL,
            ends_at timestamptz NOT NULL,
            state text NOT NULL DEFAULT 'queued',
            created_at timestamptz NOT NULL DEFAULT now(),
            created_by uuid,
            started_at timestamptz,
            finished_at timestamptz,
            leased_until timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            samples_total bigint,
            samples_done bigint NOT NULL DEFAULT 0,
            boxes_total integer,
            boxes_done integer NOT NULL DEFAULT 0,
            result jsonb,
            error text,
            CONSTRAINT ck_backtests_state
                CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled'))
        )
        """
    )
    op.execute("CREATE INDEX ix_backtests_organisation_id ON backtests (organisation_id, id)")
    op.execute("CREATE INDEX ix_backtests_site_id ON backtests (site_id)")
    op.execute(
        "CREATE INDEX ix_backtests_waiting ON backtests (created_at) WHERE state IN ('queued', 'running')"
    )
    op.execute("CREATE INDEX ix_backtests_finished_at ON backtests (finished_at)")


def downgrade() -> None:
    op.execute("DROP TABLE backtests")
