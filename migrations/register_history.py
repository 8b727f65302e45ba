"""SQL functions and triggers that write the history of the public register.

The history contains only what the register shows. For texts that may name a person (`contact`, descriptions)
it has only that they changed, because published personal data must be removable. A place that moves within
its grid cell makes no entry, because nothing public changes.
"""

from typing import Final

FUNCTIONS: Final = (
    # It runs with the owner's rights, because no role may write here. Policies apply to the owner too, with
    # the caller's tenant scope, which is widened for the one INSERT.
    """
    CREATE FUNCTION register_tell(organisation uuid, site uuid, what text, told jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        reach text := coalesce(current_setting('vigie.reach', true), '');
        sites text := coalesce(current_setting('vigie.sites', true), '');
    BEGIN
        PERFORM set_config('vigie.reach', 'all', true), set_config('vigie.sites', '', true);
        INSERT INTO register_changes (organisation_id, site_id, site_name, kind, data)
        VALUES (organisation, site, coalesce(told ->> 'name', (SELECT s.name FROM sites s WHERE s.id = site)),
                what, told - 'name');
        PERFORM set_config('vigie.reach', reach, true), set_config('vigie.sites', sites, true);
    END $$
    """,
    """
    CREATE FUNCTION register_site() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        before point; after point;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            PERFORM register_tell(NEW.organisation_id, NEW.id, 'site_added',
                jsonb_build_object('name', NEW.name, 'kind', NEW.kind));
            RETURN NULL;
        ELSIF TG_OP = 'DELETE' THEN
            -- Where the organisation goes too, there is nobody any more whose history it would be.
            IF EXISTS (SELECT FROM organisations o WHERE o.id = OLD.organisation_id) THEN
                PERFORM register_tell(OLD.organisation_id, OLD.id, 'site_removed',
                    jsonb_build_object('name', OLD.name));
            END IF;
            RETURN NULL;
        END IF;
        IF NEW.name <> OLD.name THEN
            PERFORM register_tell(NEW.organisation_id, NEW.id, 'site_renamed',
                jsonb_build_object('name', NEW.name, 'from', OLD.name));
        END IF;
        IF NEW.register_precision_m <> OLD.register_precision_m THEN
            PERFORM register_tell(NEW.organisation_id, NEW.id, 'precision_changed',
                jsonb_build_object('from', OLD.register_precision_m, 'to', NEW.register_precision_m));
        END IF;
        before := register_cell(OLD.longitude, OLD.latitude, NEW.register_precision_m);
        after := register_cell(NEW.longitude, NEW.latitude, NEW.register_precision_m);
        IF NOT before ~= after THEN
            PERFORM register_tell(NEW.organisation_id, NEW.id, 'site_moved',
                jsonb_build_object('longitude', after[0], 'latitude', after[1]));
        END IF;
        IF (NEW.retention_days, NEW.retention_purposes, NEW.retention_removes, NEW.summaries_days)
            IS DISTINCT FROM
           (OLD.retention_days, OLD.retention_purposes, OLD.retention_removes, OLD.summaries_days) THEN
            PERFORM register_tell(NEW.organisation_id, NEW.id, 'retention_changed', jsonb_build_object(
                'days', NEW.retention_days, 'purposes', NEW.retention_purposes,
                'removes', NEW.retention_removes, 'summaries_days', NEW.summaries_days));
        END IF;
        RETURN NULL;
    END $$
    """,
    # Ten thousand boxes in one statement make one entry per site.
    """
    CREATE FUNCTION register_boxes_added() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM register_tell(a.organisation_id, a.site_id, 'boxes_added',
            jsonb_build_object('count', count(*)))
        FROM added a WHERE a.deleted_at IS NULL GROUP BY a.organisation_id, a.site_id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION register_box() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        metres integer;
        one jsonb := jsonb_build_object('count', 1);
    BEGIN
        IF OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN
            PERFORM register_tell(OLD.organisation_id, OLD.site_id, 'boxes_removed', one);
        ELSIF NEW.site_id <> OLD.site_id THEN
            PERFORM register_tell(OLD.organisation_id, OLD.site_id, 'boxes_removed', one);
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'boxes_added', one);
        ELSIF NEW.deleted_at IS NULL THEN
            SELECT s.register_precision_m INTO metres FROM sites s WHERE s.id = NEW.site_id;
            IF NOT coalesce(register_cell(NEW.longitude, NEW.latitude, metres), point(999, 999))
                ~= coalesce(register_cell(OLD.longitude, OLD.latitude, metres), point(999, 999)) THEN
                PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'boxes_moved', one);
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION register_purpose() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        names text[] := '{legal_basis,legal_reference,controller,contact,impact_assessment,notice,'
            'description,description_fr,open_data,starts_at,ends_at}';
        shown text[] := '{legal_basis,open_data,starts_at,ends_at}';
        told jsonb := jsonb_build_object('purpose', NEW.purpose);
        changed jsonb := '{}';
        name text;
        was jsonb; becomes jsonb := to_jsonb(NEW);
    BEGIN
        IF TG_OP = 'INSERT' THEN
            -- Those that come with a site go without saying.
            IF NEW.declared_kind <> 'system' THEN
                PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_declared', told
                    || jsonb_build_object('legal_basis', NEW.legal_basis, 'sensitive', NEW.sensitive));
            END IF;
            RETURN NULL;
        END IF;
        was := to_jsonb(OLD);
        FOREACH name IN ARRAY names LOOP
            IF was -> name IS DISTINCT FROM becomes -> name THEN
                changed := changed || jsonb_build_object(name, CASE WHEN name = ANY (shown)
                    THEN jsonb_build_object('from', was -> name, 'to', becomes -> name) END);
            END IF;
        END LOOP;
        IF NEW.ends_at <= now() AND (OLD.ends_at IS NULL OR OLD.ends_at > now()) THEN
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_ended',
                told || jsonb_build_object('ends_at', NEW.ends_at));
            changed := changed - 'ends_at'::text;
        END IF;
        IF changed <> '{}' THEN
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_changed',
                told || jsonb_build_object('changes', changed));
        END IF;
        IF OLD.approved_at IS NULL AND NEW.approved_at IS NOT NULL THEN
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_approved', told);
        ELSIF OLD.approved_at IS NOT NULL AND NEW.approved_at IS NULL THEN
            PERFORM register_tell(NEW.organisation_id, NEW.site_id, 'purpose_approval_withdrawn', told);
        END IF;
        RETURN NULL;
    END $$
    """,
)
"""The functions of the triggers."""

SIGNATURES: Final = (
    "register_purpose()",
    "register_box()",
    "register_boxes_added()",
    "register_site()",
    "register_tell(uuid, uuid, text, jsonb)",
)
"""The signatures of `FUNCTIONS`, in the order in which a downgrade drops them."""

TRIGGERS: Final = {
    "register_site": (
        "AFTER INSERT OR DELETE OR UPDATE OF name, longitude, latitude, register_precision_m, "
        "retention_days, retention_purposes, retention_removes, summaries_days ON sites FOR EACH ROW "
        "EXECUTE FUNCTION register_site()"
    ),
    "register_boxes_added": (
        "AFTER INSERT ON boxes REFERENCING NEW TABLE AS added FOR EACH STATEMENT "
        "EXECUTE FUNCTION register_boxes_added()"
    ),
    "register_box": (
        "AFTER UPDATE OF site_id, longitude, latitude, deleted_at ON boxes FOR EACH ROW "
        "EXECUTE FUNCTION register_box()"
    ),
    "register_purpose": (
        "AFTER INSERT OR UPDATE ON site_purposes FOR EACH ROW EXECUTE FUNCTION register_purpose()"
    ),
}
"""The events of each trigger, by name."""
