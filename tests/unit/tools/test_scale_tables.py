"""The guide on scale: its picture, its check, and the assumptions that a reader changes."""

import xml.etree.ElementTree as ET

import pytest

from tools.scale_assumptions import ScaleAssumptions, change_assumptions
from tools.scale_figures import PARTS, load_load_data
from tools.scale_flows import FITTED_FLOWS, compute_flows, compute_least_flows
from tools.scale_model import PartCost
from tools.scale_picture import PICTURE, render_picture
from tools.scale_tables import SCALE_TABLES, check_flows, check_model

FITTED = dict.fromkeys(FITTED_FLOWS, PartCost(1_000.0, 2_000.0, 200.0))


def test_the_picture_is_current() -> None:
    drawn = render_picture()
    assert PICTURE.read_text(encoding="utf-8") == drawn, "write it with: python -m tools.scale_picture"
    ET.fromstring(drawn)  # noqa: S314 (ours)


def test_the_model_agrees_with_the_run_that_it_was_not_fitted_to() -> None:
    load = load_load_data()
    checked = {part: model / used for part, model, used in check_model(load)}
    assert set(checked) == {*PARTS, "all"}
    assert 0.75 <= checked["all"] <= 1.25
    bytes_of = check_flows(load.check, compute_flows(load.flows, 150.0), 150.0)
    assert {flow for flow, model, used in bytes_of if not 0.75 <= model / used <= 1.25} == set()


def test_each_table_has_rows() -> None:
    for render in SCALE_TABLES.values():
        assert len(render().splitlines()) > 1


def test_assumptions_are_changed_by_their_names() -> None:
    given = change_assumptions(
        ScaleAssumptions(), ["days=30", "tls=0", "database.disk=15e12", "worker.cores=8"]
    )
    assert (given.days, given.tls, given.database.disk, given.worker.cores) == (30, False, 15e12, 8)
    assert given.database.cores == ScaleAssumptions().database.cores


@pytest.mark.parametrize(
    "change", ["nothing=1", "database=3", "database.colour=1", "date=2027", "days.x=1", "days=a"]
)
def test_what_is_no_assumption_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match=r"assumption|could not convert"):
        change_assumptions(ScaleAssumptions(), [change])


def test_bytes_of_a_run_are_compared_with_the_model() -> None:
    flows = compute_flows(FITTED, 152.0)
    run = {
        "seconds": 10.0,
        "messages": 10_000,
        "records": 2_000,
        "sent_bytes": {"mqtt-in": 2_500_000, "mqtt-out": 600_000, "log-replication-in": 1, "http-in": 7},
        "log_bytes": 3_000_000,
        "wal_bytes": 3_040_000,
        "database_bytes": 1_520_000,
    }
    found = {name: (model, used) for name, model, used in check_flows(run, flows, 152.0)}
    assert found["database"] == (152_000.0, 152_000.0)
    assert found["wal"] == (1_000.0 + 200 * 2_000.0 + 1_000 * 200.0, 304_000.0)
    assert found["mqtt-in"][1] == 250_000.0
    assert found["log-replication"][1] == pytest.approx(0.1)


def test_the_flows_of_boxes_are_those_of_the_formats() -> None:
    flows = compute_flows(FITTED, 152.0)
    # Ten values as JSON, with topic and header.
    assert 150 < flows["mqtt-in"].message < 300
    # A PUBACK and an `ack` message.
    assert 4 + 30 < flows["mqtt-out"].message < 120
    assert flows["internal"].record == 2 * FITTED["log"].record
    least = compute_least_flows()
    # Compressed to less than a third.
    assert 10 < least["log"] < flows["mqtt-in"].message / 3
    assert least["log-replication"] == 2 * least["log"]
