#!/bin/sh
# Starts Mosquitto. Writes the accounts of Vigie's processes; `vigie maintain` adds those of the boxes, and
# Mosquitto reads them again after each change.
set -eu
accounts=/var/lib/mosquitto/accounts
: "${VIGIE_BROKER_PASSWORD:?make the secrets first (docs: containers)}"
: "${VIGIE_GATEWAY_PASSWORD:?make the secrets first (docs: containers)}"
tls='certfile /certificates/broker.pem
keyfile /certificates/broker-key.pem'
umask 077
printf 'ingest:%s\ngateway:%s\n' "$VIGIE_BROKER_PASSWORD" "$VIGIE_GATEWAY_PASSWORD" >"$accounts/static.new"
unset VIGIE_BROKER_PASSWORD VIGIE_GATEWAY_PASSWORD
# Replaces the passwords by their hashes.
mosquitto_passwd -U "$accounts/static.new"
mv "$accounts/static.new" "$accounts/passwords.static"
# Boxes keep their accounts: the rest of the file stays. `maintain` holds this lock while it writes the file.
exec 9>>"$accounts/.passwords.lock"
flock 9
{
    cat "$accounts/passwords.static"
    if [ -s "$accounts/passwords" ]; then grep -v -e '^ingest:' -e '^gateway:' "$accounts/passwords" || true; fi
} >"$accounts/passwords.new"
mv "$accounts/passwords.new" "$accounts/passwords"
touch -r "$accounts/passwords" /tmp/passwords.seen
exec 9>&-
{
    cat /etc/vigie/mosquitto.conf
    # Without TLS: for processes in the same pod, or on a network that only they join.
    printf '\nlistener 1883 %s\n' "${VIGIE_BROKER_PLAIN_ADDRESS:-0.0.0.0}"
    if [ -s /certificates/broker.pem ]; then
        # Boxes. The client id is always the user name: no box can take over another's session.
        printf '\nlistener 8883\n%s\nuse_username_as_clientid true\n' "$tls"
        # Vigie's processes: several connections under one account.
        printf '\nlistener 8884\n%s\n' "$tls"
    else
        echo 'broker: no /certificates/broker.pem: boxes cannot connect by TLS (port 8883)' >&2
    fi
} >/tmp/mosquitto.conf
# Mosquitto takes the place of this shell: it gets the container's signals, and its end is the container's.
broker-reload.sh "$$" "$accounts/passwords" /tmp/passwords.seen &
exec mosquitto -c /tmp/mosquitto.conf
