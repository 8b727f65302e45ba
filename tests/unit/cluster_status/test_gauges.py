"""The gauges of all machines: what is well is 0, so that a process that does not set them raises no alarm."""

import pytest

from app.cluster_status import prometheus_metrics as metrics
from app.cluster_status.database_hosts import DatabaseHost
from app.cluster_status.gauges import ClusterGauges, set_gauges
from app.message_log.settings import MessageLogSettings
from app.platform.observability.metric_types import Gauge
from tests.unit.cluster_status.snapshots import edge, position, rows, snapshot, status

ALARMS = (
    *(metrics.EDGES_SILENT, metrics.PARTITIONS_UNOWNED, metrics.PARTITIONS_STOPPED, metrics.REPLICAS_MISSING),
    *(metrics.LOG_UNREACHABLE, metrics.HOSTS_UNREACHABLE, metrics.STANDBY_NOT_SYNCHRONOUS),
)
PRIMARY = DatabaseHost("db-a:5432", "primary")


def value(gauge: Gauge) -> float:
    return float(gauge._value.get())


def test_a_healthy_installation_sets_no_alarm() -> None:
    set_gauges(snapshot())
    assert [value(gauge) for gauge in ALARMS] == [0] * len(ALARMS)
    assert (value(metrics.EDGES_ALIVE), value(metrics.REPLICAS_IN_SYNC)) == (2, 6)


def test_each_alarm() -> None:
    set_gauges(
        snapshot(
            rows=rows(edges=[edge("a"), edge("b", silent_s=60)], positions=[position(0, is_owned=False)]),
            statuses=[status(0, leader=None, in_sync=()), status(1, in_sync=("n1", "n2"))],
            log_fault="no answer",
            hosts=[
                PRIMARY,
                DatabaseHost("db-b:5432", "standby", 0, 0.0, False),
                DatabaseHost("c", "unreachable"),
            ],
        )
    )
    assert [value(gauge) for gauge in ALARMS] == [1, 1, 1, 4, 1, 1, 1]


@pytest.mark.parametrize(
    "hosts",
    [
        [PRIMARY],
        [PRIMARY, DatabaseHost("db-b:5432", "standby", 0, 0.0, None)],
        [DatabaseHost("db-b:5432", "standby", None, 1.0, None)] * 2,
    ],
)
def test_without_a_standby_or_the_right_to_see_it_there_is_no_alarm(hosts: list[DatabaseHost]) -> None:
    set_gauges(snapshot(hosts=hosts))
    assert value(metrics.STANDBY_NOT_SYNCHRONOUS) == 0


@pytest.mark.parametrize(
    ("engine", "url", "expected"),
    [
        ("none", "postgresql://vigie@a:1/vigie", False),
        ("none", "postgresql://vigie@a:1,b:2/vigie", True),
        ("jetstream", "postgresql://vigie@a:1/vigie", True),
    ],
)
def test_they_are_set_where_there_are_several_machines(engine: str, url: str, *, expected: bool) -> None:
    settings = MessageLogSettings.model_validate({"engine": engine})
    assert ClusterGauges(settings, url).is_needed is expected
