#!/bin/sh
# Archives the WAL that a lost primary had not archived: without it no moment between the lost segments and the
# next backup could be restored. A promoted standby has these segments, and PostgreSQL takes them for archived.
#
#   on_role_change: sh /etc/patroni/archive-missing-wal.sh DATA_DIRECTORY /etc/pgbackrest/vigie.conf
#
# The same for on_start and on_restart: Patroni kills a callback that still runs when it starts another one.
# Patroni adds three arguments: the event, the role, the cluster's name. It runs as the account postgres.
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
[ -n "$timeline" ] || exit 0 # never promoted

# The newest first: each lost primary archived the segments of its timeline in their order. So the first one that is
# in the repository ends the search on its timeline. `restore --to latest` needs each history, too.
missing='' complete=none
for done in $(ls archive_status | grep -E '^[0-9A-F]{8}([0-9A-F]{16}|\.history)\.done$' | LC_ALL=C sort -r); do
    file=${done%.done}
    case $file in "$timeline"* | "$complete"[0-9A-F]*) continue ;; esac
    while [ -e "$file" ]; do
        pgbackrest --config="$config" --stanza=vigie --log-level-console=warn archive-get "$file" "$copy"
        case $? in
            0) complete=$(printf '%.8s' "$file") && break ;;
            1) missing="$file $missing" && break ;;
            # The repository cannot be reached. Until it can, wal_keep_size keeps the segments.
            *) sleep 10 ;;
        esac
    done
done

# The oldest first: if this is killed, the next run still finds the rest behind the newest segment.
for file in $missing; do
    mv "archive_status/$file.done" "archive_status/$file.ready" && echo "to be archived: $file"
done
