"""Declares the Prometheus counter of mailed reports."""

from app.platform.observability.metric_types import Counter

REPORT_MAILS = Counter(
    "vigie_report_mails_total", "Attempts to mail a scheduled report, by outcome", ["outcome"]
)
