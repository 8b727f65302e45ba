#!/bin/sh
# Runs a command of Vigie with the settings of this server, as root: `sudo vigie doctor`. `vigie install --server`
# writes this file to /usr/local/bin/vigie.
set -eu
program=/opt/vigie/current/bin/vigie
settings=/etc/vigie
if [ "$(id -u)" != 0 ]; then
    case "${1:-}" in
        '' | --help | --version | version) exec "$program" "$@" ;;
    esac
    echo 'vigie: the settings of this server are for root only: sudo vigie ...' >&2
    exit 2
fi
# The owner's login of the database: commands see all organisations.
set -a
for file in vigie migrate backup local; do
    # shellcheck disable=SC1090  # files that the installation writes
    [ ! -e "$settings/$file.env" ] || . "$settings/$file.env"
done
# A relative path of an argument is meant in the caller's folder; a `.env` there is not.
VIGIE_NO_ENV_FILE=1
set +a
exec "$program" "$@"
