-- The roles under which Vigie's processes work. Once for each server, by an administrator, before `vigie migrate`:
--
--     psql -v owner=vigie -f deploy/roles.sql
--
-- `owner` is the login that owns Vigie's database; it has to be there. What is there already stays: run it again
-- whenever you like. Passwords are given afterwards: \password vigie_api, and so on.

\set ON_ERROR_STOP on
BEGIN;
-- Not of what is there already.
SET LOCAL client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest('{vigie_api,vigie_ingest,vigie_deliver,vigie_maintain}'::text[]) AS needed (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- What the API becomes to read the public register. Nobody logs in as it.
SELECT 'CREATE ROLE vigie_public NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vigie_public') \gexec
ALTER ROLE vigie_public NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- A migration that was allowed to make them made them without a login. They own nothing and inherit nothing.
ALTER ROLE vigie_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_ingest LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_deliver LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE vigie_maintain LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;

-- The owner has none of their rights, and none of theirs is lost to it: it may work as one of them.
GRANT vigie_api, vigie_ingest, vigie_deliver, vigie_maintain, vigie_public TO :"owner" WITH INHERIT FALSE, SET TRUE;
-- The API stores what comes in by HTTP as the ingest role does.
GRANT vigie_ingest TO vigie_api WITH INHERIT FALSE, SET TRUE;
GRANT vigie_public TO vigie_api WITH INHERIT FALSE, SET TRUE;
-- Row-level security holds owners too: this login is the operator's, and reaches everything unless it says
-- otherwise.
ALTER ROLE :"owner" SET vigie.reach = 'all';

COMMIT;
