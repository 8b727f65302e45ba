import time

import pytest

from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage, join_calls
from app.ingest.codec.telemetry_codec import Row
from app.ingest.pipeline.batch_tracing import SLOW_S, find_typical_time, observe_commit
from app.ingest.prometheus_metrics import INGEST_COMMITTED, INGEST_SLOW

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("age_s", "slow"), [(0.1, 0), (SLOW_S + 1, 3)])
def test_messages_of_a_late_batch_are_slow(age_s: float, slow: int) -> None:
    batch = DecodedBatch("test", ())
    batch.received_at = time.time() - age_s
    before = INGEST_COMMITTED.labels("test")._value.get(), INGEST_SLOW.labels("test")._value.get()
    observe_commit(batch, 3)
    assert INGEST_COMMITTED.labels("test")._value.get() - before[0] == 3
    assert INGEST_SLOW.labels("test")._value.get() - before[1] == slow


def test_joined_calls_keep_their_traces() -> None:
    first, second = (DecodedBatch("http", [ReceivedMessage(None, b"{}")] * 2) for _ in range(2))
    first.received_at, second.received_at = 20.0, 10.0
    second.traceparents = {0: PARENT, 1: PARENT}
    joined = join_calls([first, second])
    assert joined.traceparents == {2: PARENT, 3: PARENT}
    assert joined.received_at == 10.0


def test_the_typical_time_ignores_boxes_whose_clocks_are_wrong() -> None:
    now = 1_000_000
    times = [now] * 5000 + [now + 600_000] * 1000 + [5] * 1000
    rows: list[Row] = [(time_us, None, ()) for time_us in times]
    assert find_typical_time(rows) == now
    assert find_typical_time([(7, None, ())]) == 7
