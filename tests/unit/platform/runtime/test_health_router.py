"""What heartbeats say of roles, of the database and of the broker."""

import pytest

from app.platform.runtime.health_router import find_broker_warning, find_database_fault, find_role_fault
from app.platform.runtime.heartbeat import HeartbeatRow

ME = "here:1"


def beat(role: str, state: str, age_s: float = 1.0, instance: str = "there:2") -> HeartbeatRow:
    return HeartbeatRow(role, instance, state, age_s)


@pytest.mark.parametrize(
    ("beats", "fault"),
    [
        ([], "not running"),
        ([beat("deliver", "working")], "not running"),
        ([beat("ingest", "consuming")], ""),
        ([beat("ingest", "consuming", 14.0), beat("ingest", "consuming", 12.0, "c:3")], "silent for 12 s"),
        ([beat("ingest", "waiting for the broker")], "is waiting for the broker"),
        ([beat("ingest", "starting")], "is starting"),
        ([beat("ingest", "standby", 0.1, "c:3"), beat("ingest", "consuming")], ""),
        (
            [beat("ingest", "standby", 0.1, "c:3"), beat("ingest", "waiting for the broker")],
            "is waiting for the broker",
        ),
        (
            [beat("ingest", "standby", 0.1, "c:3"), beat("ingest", "consuming", 30.0)],
            "is only on standby: the process that held its lock ended, but the lock remains",
        ),
    ],
)
def test_a_role_works_when_one_of_its_processes_does(beats: list[HeartbeatRow], fault: str) -> None:
    assert find_role_fault(beats, "ingest") == fault


@pytest.mark.parametrize(
    ("beats", "fault"),
    [
        ([], ""),
        ([beat("ingest", "consuming"), beat("api", "serving", instance=ME)], ""),
        ([beat("ingest", "waiting for the database")], "ingest (there:2) is waiting for the database"),
        (
            [beat("ingest", "waiting for the database: DiskFullError")],
            "ingest (there:2) is waiting for the database: DiskFullError",
        ),
        ([beat("ingest", "waiting for the broker")], ""),
        # One of several workers, perhaps on a machine that has lost its network: the others work.
        ([beat("ingest", "waiting for the database"), beat("ingest", "consuming", 1.0, "c:3")], ""),
        (
            [beat("ingest", "waiting for the database"), beat("ingest", "standby", 1.0, "c:3")],
            "ingest (there:2) is waiting for the database",
        ),
        (
            [beat("ingest", "waiting for the database"), beat("ingest", "consuming", 20.0, "c:3")],
            "ingest (there:2) is waiting for the database",
        ),
        (
            [beat("api", "waiting for the database", 1.0, ME), beat("api", "serving", 1.0, "c:3")],
            f"api ({ME}) is waiting for the database",
        ),
        # It may have been killed: that is no fault of the database.
        ([beat("ingest", "waiting for the database", 11.0)], ""),
        ([beat("api", "serving", 12.0, ME)], "it has taken no heartbeat of this process for 12 s"),
        ([beat("api", "serving", 12.0, "there:2")], ""),
    ],
)
def test_the_database_is_at_fault_for_what_waits_for_it(beats: list[HeartbeatRow], fault: str) -> None:
    assert find_database_fault(beats, ME) == fault


def test_what_the_watch_found_worries_as_long_as_it_is_news() -> None:
    worry = "dropped 3 messages in the last 10 minutes"
    assert find_broker_warning([]) == ""
    assert find_broker_warning([beat("broker", "")]) == ""
    assert find_broker_warning([beat("broker", worry), beat("ingest", "consuming")]) == worry
    assert find_broker_warning([beat("broker", worry, 60.0)]) == ""
