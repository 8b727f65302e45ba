from app.standalone.traffic_counts import StackMetrics, parse_metrics

TEXT = """\
# HELP vigie_ingest_messages_total Messages
# TYPE vigie_ingest_messages_total counter
vigie_ingest_messages_total{kind="telemetry"} 100.0
vigie_ingest_messages_total{kind="event"} 5.0
vigie_samples_stored_total 1e3
vigie_samples_duplicate_total 7.0
vigie_quarantined_total{code="invalid_json",door="mqtt"} 2.0
vigie_quarantined_total{code="with \\"quotes\\" and } brace",door="http"} 1.0
vigie_alerts_firing 3.0
vigie_deliveries_total{outcome="delivered"} 4.0
vigie_deliveries_total{reason="x",outcome="failed"} 1.0
vigie_deliveries_created{outcome="failed"} 1.7e9
not a metric line at all
vigie_alerts_firing not-a-number
"""


def test_totals_are_summed_over_labels() -> None:
    assert parse_metrics(TEXT) == StackMetrics(
        messages=105,
        stored=1000,
        duplicates=7,
        quarantined=3,
        firing=3,
        deliveries={"delivered": 4, "failed": 1},
    )


def test_what_is_not_exposed_is_unknown() -> None:
    assert parse_metrics("") == StackMetrics()


def test_a_counter_that_has_not_counted_yet_is_zero() -> None:
    figures = parse_metrics("vigie_alerts_firing 3\n")
    assert (figures.firing, figures.quarantined, figures.stored) == (3.0, 0.0, 0.0)
