"""The figures of the guide on scale, and what a load has used between two readings."""

from dataclasses import replace
from pathlib import Path

from bench.cluster_load import LoadRun
from bench.scale_figures import load_scale_figures, store_scale_figures
from tools.clusters.cluster_usage import ClusterUsage

BEFORE = ClusterUsage(
    at=100.0,
    cpu_s={"edge": 1.0, "nats": 5.0},
    memory={"edge": 10, "nats": 20},
    interface_bytes=1_000,
    sent_bytes={"mqtt-in": 100},
    wal_bytes=50,
    database_bytes=5_000,
    log_bytes=70,
    records=7,
    batches=3,
    acks=11,
    samples=40,
)


def test_a_part_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert load_scale_figures(path) == {}
    store_scale_figures("boxes", {"plain": 1}, path)
    store_scale_figures("cluster", {"runs": []}, path)
    store_scale_figures("boxes", {"plain": 2}, path)
    assert load_scale_figures(path) == {"boxes": {"plain": 2}, "cluster": {"runs": []}}


def test_a_run_is_what_was_used_between_two_readings() -> None:
    after = replace(
        BEFORE,
        at=110.0,
        cpu_s={"edge": 1.5, "nats": 7.0},
        memory={"edge": 15, "nats": 18},
        sent_bytes={"mqtt-in": 400, "http-in": 9},
        records=17,
        samples=140,
        acks=111,
    )
    run = LoadRun.between(10.0, BEFORE, after)
    assert (run.seconds, run.messages, run.records, run.acks) == (10.0, 100, 10, 100)
    assert run.cpu_s == {"edge": 0.5, "nats": 2.0}
    assert run.memory == after.memory
    # A connection that is new since the first reading counts whole.
    assert run.sent_bytes == {"mqtt-in": 300, "http-in": 9}
    assert (run.wal_bytes, run.database_bytes, run.log_bytes) == (0, 0, 0)
    assert "10 messages/s, 1 records/s" in run.line()
