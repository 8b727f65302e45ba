"""What becomes of several statuses of a box that come in one batch."""

from app.registry.box_status_writer import StatusRow


def status(state: str, *edges: str, firmware: str | None = None, online_edge: str | None = None) -> StatusRow:
    return StatusRow(state, firmware, None, None, edges, online_edge)


def test_with_one_broker_the_newest_counts_and_missing_values_stay() -> None:
    newest = status("offline").over(status("online", firmware="2.1"))
    assert newest == StatusRow("offline", "2.1", None, None)


def test_offline_of_the_edge_that_a_box_has_left_changes_nothing() -> None:
    assert status("offline", "a").over(status("online", "b")) == status("online", "b")
    left = status("offline", "b").over(status("online", "b"))
    assert left == status("offline", "b", online_edge="b")


def test_offline_is_known_of_all_edges_that_say_so_each_once() -> None:
    both = status("offline", "a").over(status("offline", "b"))
    assert both.edges == ("a", "b")
    assert status("offline", "a").over(both) == both


def test_offline_after_online_of_the_same_edge_knows_it() -> None:
    left = status("offline", "a").over(status("online", "a").over(status("offline", "b")))
    assert left == status("offline", "a", online_edge="a")
    assert status("offline", "b").over(left) == status("offline", "a", "b", online_edge="a")
    assert status("online", "b").over(left) == status("online", "b")
