from prometheus_client import REGISTRY

from app.ingest.pipeline.batch_receipt import BatchReceipt


def test_boxes_that_invent_types_of_events_make_no_series_without_end() -> None:
    before = REGISTRY.get_sample_value("vigie_events_stored_total", {"type": "other"}) or 0.0
    BatchReceipt("mqtt", new_events=[f"invented-{number}" for number in range(1_000)]).count()
    after = REGISTRY.get_sample_value("vigie_events_stored_total", {"type": "other"})
    assert after is not None
    assert after - before >= 1_000 - 64
