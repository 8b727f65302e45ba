"""Adds the purposes of sites, with legal basis and end, and counts of data refused without a purpose.

A row of `site_purposes` is a declared purpose; it is never deleted, but ends. A trigger declares the
environmental purposes of each new site, however it is created. A sensitive purpose needs all fields and the
approval of a second person; a constraint checks it.

Registry snapshots follow rows by their revision, as for boxes and rules. Data that are refused for their
purpose or content are not stored: `door_refusals` only counts them.

Events may have a spectrum, a count or a state, depending on their type.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import (
    API,
    INGEST,
    MAINTAIN,
    grant,
    open_to,
    organisation_in_reach,
    protect,
    site_in_reach,
    unprotect,
)

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_BASES: Final = (
    *("consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"),
    *("law_enforcement", "other_law", "not_personal_data"),
)
# The purposes that are declared with each site, and whether their data are open by default.
_DEFAULTS: Final = {
    "air_quality": True,
    "noise": True,
    "indoor_comfort": False,
    "odour": True,
    "equipment": False,
}
_OURS: Final = ", ".join(f"('{name}', {str(is_open).lower()})" for name, is_open in _DEFAULTS.items())
_PURPOSES: Final = f"""
CREATE TABLE site_purposes (
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    purpose text NOT NULL,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    sensitive boolean NOT NULL DEFAULT false,
    legal_basis text CHECK (legal_basis IN ({", ".join(f"'{basis}'" for basis in _BASES)})),
    legal_reference text,
    controller text,
    contact text,
    impact_assessment text,
    notice text,
    description text,
    description_fr text,
    open_data boolean NOT NULL DEFAULT false,
    starts_at timestamptz,
    ends_at timestamptz,
    declared_by uuid,
    declared_kind text NOT NULL DEFAULT 'system',
    declared_at timestamptz NOT NULL DEFAULT now(),
    approved_by uuid,
    approved_at timestamptz,
    revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (site_id, purpose),
    CONSTRAINT ck_site_purposes_approval CHECK ((approved_at IS NULL) = (approved_by IS NULL)),
    CONSTRAINT ck_site_purposes_second
        CHECK (approved_by IS NULL OR approved_by IS DISTINCT FROM declared_by),
    CONSTRAINT ck_site_purposes_complete CHECK (
        NOT sensitive OR approved_at IS NULL OR (
            legal_basis IS NOT NULL AND legal_basis <> 'not_personal_data'
            AND num_nulls(legal_reference, controller, contact, impact_assessment, notice, description,
                starts_at, ends_at) = 0
        )
    ),
    CONSTRAINT ck_site_purposes_closed CHECK (NOT (sensitive AND open_data)),
    CONSTRAINT ck_site_purposes_range CHECK (ends_at >= starts_at)
)
"""
_REFUSALS: Final = """
CREATE TABLE door_refusals (
    day date NOT NULL,
    organisation_id uuid REFERENCES organisations ON DELETE CASCADE,
    site_id uuid REFERENCES sites ON DELETE CASCADE,
    door text NOT NULL,
    code text NOT NULL,
    purpose text,
    writer integer NOT NULL,
    refused bigint NOT NULL,
    CONSTRAINT uq_door_refusals UNIQUE NULLS NOT DISTINCT
        (day, organisation_id, site_id, door, code, purpose, writer)
) WITH (fillfactor = 50)
"""
_FUNCTION: Final = f"""
CREATE FUNCTION declare_purposes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO site_purposes (site_id, purpose, organisation_id, legal_basis, open_data)
    SELECT NEW.id, d.purpose, NEW.organisation_id, 'not_personal_data', d.open
    FROM (VALUES {_OURS}) AS d (purpose, open);
    RETURN NULL;
END $$
"""  # noqa: S608 (constants)
_STAMPED: Final = "purpose, sensitive, starts_at, ends_at, approved_at"
_TRIGGERS: Final = (
    """
    CREATE TRIGGER declare_purposes AFTER INSERT ON sites FOR EACH ROW EXECUTE FUNCTION declare_purposes()
    """,
    f"""
    CREATE TRIGGER registry_next BEFORE INSERT OR UPDATE OF {_STAMPED} ON site_purposes
    FOR EACH STATEMENT EXECUTE FUNCTION registry_next()
    """,
    f"""
    CREATE TRIGGER registry_stamp BEFORE INSERT OR UPDATE OF {_STAMPED} ON site_purposes
    FOR EACH ROW EXECUTE FUNCTION registry_stamp()
    """,
)
_EXISTING: Final = f"""
INSERT INTO site_purposes (site_id, purpose, organisation_id, legal_basis, open_data)
SELECT s.id, d.purpose, s.organisation_id, 'not_personal_data', d.open
FROM sites s CROSS JOIN (VALUES {_OURS}) AS d (purpose, open)
"""  # noqa: S608 (constants)
_RECORDED: Final = (
    *("organisation_id", "purpose", "legal_basis", "legal_reference", "controller", "impact_assessment"),
    *("notice", "description", "description_fr", "open_data", "starts_at", "ends_at", "declared_by"),
    *("approved_by", "approved_at"),
)
_EVENTS: Final = """
ALTER TABLE events
    ADD COLUMN spectrum jsonb,
    ADD COLUMN count integer,
    ADD COLUMN state text CHECK (state IN ('begin', 'end'))
"""
_LOCK: Final = "LOCK TABLE sites, events IN ACCESS EXCLUSIVE MODE"


def upgrade() -> None:
    """Create purposes, and declare the environmental ones of existing sites."""
    op.execute(_LOCK)
    for statement in (
        _EVENTS,
        _PURPOSES,
        "CREATE INDEX ix_site_purposes_organisation_id ON site_purposes (organisation_id)",
        "CREATE INDEX ix_site_purposes_revision ON site_purposes (revision)",
        _REFUSALS,
        "CREATE INDEX ix_door_refusals_site_id ON door_refusals (site_id, day)",
        "CREATE INDEX ix_door_refusals_organisation_id ON door_refusals (organisation_id)",
        _FUNCTION,
        *_TRIGGERS,
        _EXISTING,
    ):
        op.execute(statement)
    protect("site_purposes", f"{organisation_in_reach()} AND {site_in_reach()}")
    protect("door_refusals", f"{organisation_in_reach()} AND {site_in_reach()}")
    open_to("site_purposes", (INGEST, MAINTAIN))
    open_to("door_refusals", (INGEST, MAINTAIN))
    grant("SELECT, INSERT, UPDATE", "site_purposes", API)
    grant("SELECT", "site_purposes", MAINTAIN)
    grant(f"SELECT (site_id, {_STAMPED}, revision)", "site_purposes", INGEST)
    grant("SELECT, INSERT, UPDATE", "door_refusals", API, INGEST)
    grant("SELECT, INSERT, UPDATE, DELETE", "door_refusals", MAINTAIN)
    # A contact may be a person's address. Purposes that a trigger declares are nobody's action.
    watch(
        "site_purposes",
        "site_purpose",
        _RECORDED,
        hidden=("contact",),
        key="site_id",
        name="purpose",
        cascades=False,
    )


def downgrade() -> None:
    """Drop declared purposes and counts of refusals."""
    op.execute(_LOCK)
    op.execute("DROP TRIGGER declare_purposes ON sites")
    op.execute("DROP FUNCTION declare_purposes()")
    unwatch("site_purposes")
    for table in ("site_purposes", "door_refusals"):
        unprotect(table)
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE events DROP COLUMN spectrum, DROP COLUMN count, DROP COLUMN state")
