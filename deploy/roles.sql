-- Creates the database roles of Vigie's processes. An administrator runs it once per server, before `vigie migrate`:
--
--     psql -v owner=vigie -f deploy/roles.sql
--
-- `owner` is the login that owns Vigie's database; it must exist. Existing roles stay: it is safe to run this again.
-- Set the passwords afterwards: \password vigie_api, and so on.

\set ON_ERROR_STOP on
BEGIN;
-- Suppress notices about existing grants.
SET LOCAL client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest('{vigie_api,vigie_ingest,vigie_deliver,vigie_maintain}'::text[]) AS needed (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- The API switches to this role to read the public register. It cannot log in.
SELECT 'CREATE ROLE vigie_public NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vigie_public') \gexec
ALTER ROLE vigie_public NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- A migration with the right to create roles creates them without LOGIN. They own and inherit nothing.
ALTER ROLE vigie_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_ingest LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_deliver LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_maintain LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- The owner does not inherit their privileges, but may switch to each of them.
GRANT vigie_api, vigie_ingest, vigie_deliver, vigie_maintain, vigie_public TO :"owner" WITH INHERIT FALSE, SET TRUE;
-- The API stores telemetry by HTTP under the ingest role.
GRANT vigie_ingest TO vigie_api WITH INHERIT FALSE, SET TRUE;
GRANT vigie_public TO vigie_api WITH INHERIT FALSE, SET TRUE;
-- Row-level security also applies to the owner. This login is the operator's: its scope is all tenants by default.
ALTER ROLE :"owner" SET vigie.reach = 'all';
-- The function `replication_status` runs with the owner's rights. It shows the processes which standby is synchronous.
GRANT pg_read_all_stats TO :"owner";

COMMIT;
