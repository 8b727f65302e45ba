"""SQL functions that build an entry of the audit log, in their versions of migrations 0016 and 0019."""

from typing import Final

TOLD_FIRST: Final = """
CREATE FUNCTION audit_told(actor jsonb, action text, subject jsonb, before jsonb, after jsonb, origin jsonb)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('actor', actor, 'action', action, 'subject', subject, 'before', before,
        'after', after, 'address', origin -> 'address', 'request_id', origin -> 'request_id',
        'database', origin -> 'database')::text
$$
"""
# In plpgsql, because a function in SQL would be planned at each call.
_ENTER: Final = """
CREATE FUNCTION audit_enter(audience uuid[], action text, subject jsonb, before jsonb, after jsonb@parameter)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    context record;
    ids text[] := ARRAY[subject ->> 'id'];
BEGIN
    context := audit_context();
    IF subject ? 'ids' THEN
        ids := ARRAY(SELECT jsonb_array_elements_text(subject -> 'ids'));
    END IF;
    INSERT INTO audit_pending (organisation_id, record, actor_id, action, subject_kind, subject_ids)
    SELECT whose, audit_told(context.actor, action, subject, before, after, context.origin@source),
        context.actor ->> 'id', action, subject ->> 'kind', array_remove(ids, NULL)
    FROM (SELECT DISTINCT unnest(audience)) AS each (whose) WHERE whose IS NOT NULL;
END $$
"""
ENTER_FIRST: Final = _ENTER.replace("@parameter", "").replace("@source", "")
RECORD_FIRST: Final = """
CREATE OR REPLACE FUNCTION audit_record(organisation uuid, action text, subject jsonb, details jsonb)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT audit_enter(ARRAY[organisation], action, subject, NULL, details)
$$
"""
# Adds the source of the entry: a trigger or the program.
TOLD: Final = """
CREATE FUNCTION audit_told(actor jsonb, action text, subject jsonb, before jsonb, after jsonb, origin jsonb,
    source text DEFAULT 'trigger')
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('actor', actor, 'action', action, 'subject', subject, 'before', before,
        'after', after, 'address', origin -> 'address', 'request_id', origin -> 'request_id',
        'database', origin -> 'database', 'source', source)::text
$$
"""
ENTER: Final = _ENTER.replace("@parameter", ",\n    source text DEFAULT 'trigger'").replace(
    "@source", ", source"
)
# The program may record only what was read or refused. Triggers record changes.
RECORD: Final = r"""
CREATE OR REPLACE FUNCTION audit_record(organisation uuid, action text, subject jsonb, details jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (vigie_reaches_all() OR organisation = ANY (vigie_organisations())) IS NOT TRUE THEN
        RAISE EXCEPTION 'organisation % is out of reach', organisation
        USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (action IN ('access.refused', 'session.refused') OR action ~ '^[a-z_]+\.read$'
            AND subject ->> 'kind' = split_part(action, '.', 1)) IS NOT TRUE THEN
        RAISE EXCEPTION '% is not for the program to record', action
        USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM audit_enter(ARRAY[organisation], action, subject, NULL, details, 'program');
END $$
"""
