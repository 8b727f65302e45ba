"""Renders the Helm chart without Helm: `python -m tools.rehearsals.chart`."""
