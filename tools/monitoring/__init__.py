"""Makes the files of `deploy/` by which Prometheus and Grafana watch Vigie."""
