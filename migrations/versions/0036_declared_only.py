"""Limits the register to declared purposes, and adds address and open data licence to sites.

Environmental purposes are still created with each site, so that its boxes can send at once. But they have no
legal basis and publish nothing, because the operator must declare both. Rows that nobody has declared
(`declared_kind = 'system'`) lose the `not_personal_data` and the publication of migration 0024 and its
trigger; a constraint checks it from now on. Rows that a person or a key declared or changed do not change.

So the register no longer publishes measurements of such purposes until the operator sets `open_data`. Stored
data do not change, and ingest accepts the same data as before. The history gets one entry for each site that
had published data in this way.

`address` is the site's address as the operator publishes it. `open_data_licence` is an SPDX identifier.
"""

from typing import Final

from alembic import op

from migrations.audit import watch
from migrations.isolation import PUBLIC, grant
from migrations.register_history import FUNCTIONS

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

# The purposes that are created with each site, and whether the former default published their data.
_DEFAULTS: Final = {
    "air_quality": True,
    "noise": True,
    "indoor_comfort": False,
    "odour": True,
    "equipment": False,
}
_NAMES: Final = ", ".join(f"('{name}')" for name in _DEFAULTS)
_FORMER: Final = ", ".join(f"('{name}', {str(is_open).lower()})" for name, is_open in _DEFAULTS.items())
_DECLARE: Final = f"""
CREATE OR REPLACE FUNCTION declare_purposes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO site_purposes (site_id, purpose, organisation_id)
    SELECT NEW.id, d.purpose, NEW.organisation_id FROM (VALUES {_NAMES}) AS d (purpose);
    RETURN NULL;
END $$
"""  # noqa: S608 (constants)
_DECLARE_FORMERLY: Final = f"""
CREATE OR REPLACE FUNCTION declare_purposes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO site_purposes (site_id, purpose, organisation_id, legal_basis, open_data)
    SELECT NEW.id, d.purpose, NEW.organisation_id, 'not_personal_data', d.open
    FROM (VALUES {_FORMER}) AS d (purpose, open);
    RETURN NULL;
END $$
"""  # noqa: S608 (constants)
_TOLD: Final = """
INSERT INTO register_changes (organisation_id, site_id, site_name, kind, data)
SELECT s.organisation_id, s.id, s.name, 'defaults_withdrawn',
    jsonb_build_object('purposes', jsonb_agg(p.purpose ORDER BY p.purpose))
FROM site_purposes p JOIN sites s ON s.id = p.site_id
WHERE p.declared_kind = 'system' AND p.open_data GROUP BY s.id
"""
_WITHDRAWN: Final = """
UPDATE site_purposes SET legal_basis = NULL, open_data = false, updated_at = now()
WHERE declared_kind = 'system' AND (open_data OR legal_basis IS NOT NULL)
"""
_RESTORED: Final = f"""
UPDATE site_purposes p SET legal_basis = 'not_personal_data', open_data = d.open
FROM (VALUES {_FORMER}) AS d (purpose, open)
WHERE p.declared_kind = 'system' AND p.purpose = d.purpose
"""  # noqa: S608 (constants)
_CHECK: Final = """
ALTER TABLE site_purposes ADD CONSTRAINT ck_site_purposes_default
    CHECK (declared_kind <> 'system' OR (legal_basis IS NULL AND NOT open_data))
"""
# A default purpose that is declared now is recorded as a declaration, with its publication.
_HISTORY: Final = next(each for each in FUNCTIONS if "FUNCTION register_purpose()" in each).replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
_ENDS: Final = "        IF NEW.ends_at <= now() AND (OLD.ends_at IS NULL"
_ADOPTED: Final = """
        IF OLD.declared_kind = 'system' AND NEW.declared_kind <> 'system' THEN
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_declared', told
                || jsonb_build_object('legal_basis', NEW.legal_basis, 'sensitive', NEW.sensitive));
            changed := CASE WHEN jsonb_exists(changed, 'open_data')
                THEN jsonb_build_object('open_data', changed -> 'open_data') ELSE '{}' END;
        END IF;
"""
_SITES: Final = """
ALTER TABLE sites ADD COLUMN address text, ADD COLUMN open_data_licence text
"""
_TEXTS: Final = """
CREATE FUNCTION register_site_texts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- An address that was published once must be able to go: what it was is not told.
    IF NEW.address IS DISTINCT FROM OLD.address THEN
        PERFORM register_tell(NEW.organisation_id, NEW.id, 'address_changed', '{}');
    END IF;
    IF NEW.open_data_licence IS DISTINCT FROM OLD.open_data_licence THEN
        PERFORM register_tell(NEW.organisation_id, NEW.id, 'licence_changed',
            jsonb_build_object('from', OLD.open_data_licence, 'to', NEW.open_data_licence));
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGER: Final = """
CREATE TRIGGER register_site_texts AFTER UPDATE OF address, open_data_licence ON sites FOR EACH ROW
EXECUTE FUNCTION register_site_texts()
"""
_IN_FORCE: Final = (
    "(p.starts_at IS NULL OR p.starts_at <= now()) AND (p.ends_at IS NULL OR p.ends_at > now())"
    " AND (NOT p.sensitive OR p.approved_at IS NOT NULL)"
)
# As in migration 0026; new columns are last, as CREATE OR REPLACE VIEW requires.
_VIEWS: Final = {
    "public_sites": """
        SELECT s.id, o.name AS operator, s.name, s.kind, s.timezone, s.register_precision_m AS precision_m,
            (register_cell(s.longitude, s.latitude, s.register_precision_m))[0] AS longitude,
            (register_cell(s.longitude, s.latitude, s.register_precision_m))[1] AS latitude,
            s.retention_days, s.retention_purposes, s.retention_removes, s.summaries_days, s.created_at{more}
        FROM sites s JOIN organisations o ON o.id = s.organisation_id
        WHERE EXISTS (SELECT FROM boxes b WHERE b.site_id = s.id AND b.deleted_at IS NULL)
    """,
    "public_purposes": f"""
        SELECT p.site_id, p.purpose, p.sensitive, p.legal_basis, p.legal_reference, p.controller, p.contact,
            p.impact_assessment, p.notice, p.description, p.description_fr, p.open_data, p.starts_at,
            p.ends_at, p.declared_at, p.approved_at, ({_IN_FORCE}) IS TRUE AS in_force{{more}}
        FROM site_purposes p
    """,  # noqa: S608 (constants)
}
_MORE: Final = {
    "public_sites": ", s.address, s.open_data_licence AS licence",
    "public_purposes": ", CASE p.declared_kind WHEN 'system' THEN 'default' ELSE 'operator' END AS origin",
}
_LOCK: Final = "LOCK TABLE sites, site_purposes IN ACCESS EXCLUSIVE MODE"
_SITE: Final = (
    *("organisation_id", "name", "kind", "timezone", "longitude", "latitude", "retention_days"),
    *("attributes", "retention_purposes", "retention_removes", "summaries_days", "register_precision_m"),
)


def _make_views(more: dict[str, str]) -> None:
    for name, query in _VIEWS.items():
        op.execute(f"DROP VIEW IF EXISTS {name}")
        op.execute(f"CREATE VIEW {name} WITH (security_barrier) AS {query.format(more=more.get(name, ''))}")
        grant("SELECT", name, PUBLIC)


def upgrade() -> None:
    """Remove undeclared legal bases and publications; add addresses and licences."""
    op.execute(_LOCK)
    op.execute(_DECLARE)
    op.execute(_HISTORY.replace(_ENDS, _ADOPTED + _ENDS))
    op.execute(_TOLD)
    # One entry per site is enough; the trigger would write one per purpose.
    op.execute("ALTER TABLE site_purposes DISABLE TRIGGER register_purpose")
    op.execute(_WITHDRAWN)
    op.execute("ALTER TABLE site_purposes ENABLE TRIGGER register_purpose")
    for statement in (_CHECK, _SITES, _TEXTS, _TRIGGER):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION register_site_texts() FROM PUBLIC")
    _make_views(_MORE)
    watch("sites", "site", (*_SITE, "address", "open_data_licence"))


def downgrade() -> None:
    """Restore the defaults of migration 0024; drop addresses and licences."""
    op.execute(_LOCK)
    watch("sites", "site", _SITE)
    op.execute("DROP TRIGGER register_site_texts ON sites")
    op.execute("DROP FUNCTION register_site_texts()")
    _make_views({})
    op.execute("ALTER TABLE sites DROP COLUMN address, DROP COLUMN open_data_licence")
    op.execute("ALTER TABLE site_purposes DROP CONSTRAINT ck_site_purposes_default")
    op.execute(_DECLARE_FORMERLY)
    op.execute(_HISTORY)
    op.execute("DELETE FROM register_changes WHERE kind = 'defaults_withdrawn'")
    op.execute("ALTER TABLE site_purposes DISABLE TRIGGER register_purpose")
    op.execute(_RESTORED)
    op.execute("ALTER TABLE site_purposes ENABLE TRIGGER register_purpose")
