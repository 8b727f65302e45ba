#!/bin/sh
# Archives the WAL that a lost primary had not archived: without it no moment between the lost segments and the
# next backup could be restored. A promoted standby has these segments, and PostgreSQL takes them for archived.
#
#   on_role_change: sh /etc/patroni/archive-missing-wal.sh DATA_DIRECTORY /etc/pgbackrest/vigie.conf
#
# Patroni adds three arguments: on_role_change, the new role, the cluster's name. It runs as the account postgres.
# Guide: docs/operations/backups.md
set -u
data=$1 config=$2 role=$4
[ "$role" = primary ] && [ -e "$config" ] || exit 0
cd "$data/pg_wal" || exit 1
copy=$(mktemp) || exit 1
trap 'rm -f "$copy"' EXIT

# Patroni calls this when it begins the promotion. At its end there is the history of the new timeline, whose
# own segments are archived as they are written.
while [ -e ../standby.signal ]; do sleep 0.2; done
timeline=$(ls | grep -E '^[0-9A-F]{8}\.history$' | sort | tail -n 1 | cut -c 1-8)

# The newest first: the lost primary archived them in their order.
for done in $(ls archive_status | grep -E '^[0-9A-F]{24}\.done$' | sort -r); do
    segment=$(basename "$done" .done)
    case $segment in "$timeline"*) continue ;; esac
    while [ -e "$segment" ]; do
        pgbackrest --config="$config" --stanza=vigie --log-level-console=warn archive-get "$segment" "$copy"
        case $? in
            0) exit 0 ;;
            1) mv "archive_status/$done" "archive_status/$segment.ready" && echo "to be archived: $segment" && break ;;
            # The repository cannot be reached. Until it can, wal_keep_size keeps the segments.
            *) sleep 10 ;;
        esac
    done
done
