"""Adds the replay of quarantined messages, and indexes to list and count them among millions.

A box's id may have belonged to another organisation. `former_boxes` records the owners of deleted boxes. The
next owner of an id gets no messages that arrived while nobody owned it.

The indexes are created inside the transaction; ingest waits meanwhile.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FORMER = (
    """
    CREATE TABLE former_boxes (
        box text NOT NULL,
        organisation_id uuid NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (box, organisation_id)
    )
    """,
    """
    INSERT INTO former_boxes (box, organisation_id, until)
    SELECT id, organisation_id, max(deleted_at) FROM boxes WHERE deleted_at IS NOT NULL GROUP BY 1, 2
    """,
    """
    CREATE FUNCTION remember_former_box() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO former_boxes AS f (box, organisation_id, until)
        VALUES (OLD.id, OLD.organisation_id, now())
        ON CONFLICT (box, organisation_id) DO UPDATE SET until = excluded.until;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER remember_former_box AFTER UPDATE OF id, organisation_id, deleted_at ON boxes
    FOR EACH ROW WHEN (
        OLD.deleted_at IS NULL
        AND (NEW.deleted_at IS NOT NULL OR NEW.id <> OLD.id OR NEW.organisation_id <> OLD.organisation_id)
    )
    EXECUTE FUNCTION remember_former_box()
    """,
    """
    CREATE TRIGGER remember_former_box_removed AFTER DELETE ON boxes
    FOR EACH ROW WHEN (OLD.deleted_at IS NULL)
    EXECUTE FUNCTION remember_former_box()
    """,
)
_INDEXES = {
    # Lists by code: of one organisation, and of all.
    "ix_quarantine_organisation_id_code": "(organisation_id, code, id)",
    "ix_quarantine_code": "(code, id)",
    # Counts by index-only scans, without reading the rows and their payloads.
    "ix_quarantine_counts": "(organisation_id, received_at) INCLUDE (code, door, box, replayed_at)",
    # Time ranges over all organisations, and expired entries.
    "ix_quarantine_received_at": "(received_at)",
    "ix_quarantine_replayed": "(organisation_id, id) WHERE replayed_at IS NOT NULL",
}


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE quarantine
            ADD COLUMN attempts integer NOT NULL DEFAULT 0,
            ADD COLUMN attempted_at timestamptz,
            ADD COLUMN replayed_at timestamptz,
            ADD COLUMN outcome jsonb
        """
    )
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON quarantine {columns}")
    for statement in _FORMER:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER remember_former_box ON boxes")
    op.execute("DROP TRIGGER remember_former_box_removed ON boxes")
    op.execute("DROP FUNCTION remember_former_box")
    op.execute("DROP TABLE former_boxes")
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute(
        "ALTER TABLE quarantine DROP COLUMN attempts, DROP COLUMN attempted_at, DROP COLUMN replayed_at, "
        "DROP COLUMN outcome"
    )
