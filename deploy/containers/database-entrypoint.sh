#!/bin/sh
# Starts PostgreSQL. The first start creates the cluster, the database `vigie` and the logins of the processes.
# Each start sets the passwords of the environment, so that a changed one needs only a restart.
set -eu
data=/var/lib/postgresql/data/17
bin=/usr/lib/postgresql/17/bin
conf=/etc/vigie/postgresql.conf
logins='vigie vigie_api vigie_ingest vigie_deliver vigie_maintain'

password_of() { printenv "$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')_PASSWORD" || true; }

for login in $logins; do
    if [ -z "$(password_of "$login")" ]; then
        echo "database: $(printf '%s' "$login" | tr '[:lower:]' '[:upper:]')_PASSWORD is empty: make the secrets first (docs: containers)" >&2
        exit 2
    fi
done

if [ ! -s "$data/PG_VERSION" ]; then
    # A folder with another name until it is complete: after an interruption the next start begins again.
    rm -rf "$data.new"
    "$bin/initdb" --pgdata="$data.new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
    # Sockets only: peer for the administrator in this container, passwords for all other logins.
    printf 'local all postgres peer\nlocal all all scram-sha-256\n' >"$data.new/pg_hba.conf"
    mv "$data.new" "$data"
fi

# A private socket, so that no process sees the database before it is set up.
private=$(mktemp -d)
"$bin/pg_ctl" --pgdata="$data" --wait --timeout=3600 --log=/dev/stderr \
    --options="-c config_file=$conf -c unix_socket_directories=$private" start >/dev/null
run() { psql --host="$private" --username=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$@"; }
run --dbname=postgres <<'SQL'
SELECT 'CREATE ROLE vigie LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vigie') \gexec
SELECT 'CREATE DATABASE vigie OWNER vigie' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'vigie') \gexec
SQL
run --dbname=vigie --set=owner=vigie --file=/etc/vigie/roles.sql
for login in $logins; do
    # By standard input: arguments are visible to other processes.
    printf "\\set password '%s'\nALTER ROLE %s PASSWORD :'password';\n" "$(password_of "$login")" "$login" |
        run --dbname=postgres
    unset "$(printf '%s' "$login" | tr '[:lower:]' '[:upper:]')_PASSWORD"
done
"$bin/pg_ctl" --pgdata="$data" --wait --mode=fast stop >/dev/null
rmdir "$private"

exec "$bin/postgres" -D "$data" -c "config_file=$conf" "$@"
