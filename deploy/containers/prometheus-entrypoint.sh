#!/bin/sh
# Starts Prometheus. The token of /metrics comes from the environment, and is stored in memory only.
set -eu
umask 077
printf '%s' "${VIGIE_METRICS_TOKEN:?make the secrets first (docs: containers)}" >/tmp/token
exec prometheus --config.file=/etc/vigie/prometheus.yml --storage.tsdb.path=/data \
    --storage.tsdb.retention.time=30d --web.listen-address=:9090 "$@"
