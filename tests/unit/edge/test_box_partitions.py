"""Which partition a topic has, and which partitions a record must come after."""

from app.edge import box_partitions
from app.edge.box_partitions import BoxPartitions, find_topic_box
from app.message_log.partitions import find_unknown_box_partition

PARTITIONS = 4


def loaded(boxes: dict[str, int]) -> BoxPartitions:
    """A copy whose first records are written already."""
    copy = BoxPartitions(PARTITIONS)
    copy.apply(boxes.items())
    copy.take_sources(range(PARTITIONS))
    return copy


def other_than(*partitions: int) -> int:
    return next(each for each in range(PARTITIONS) if each not in partitions)


def test_the_box_of_a_topic_is_found_whatever_the_format() -> None:
    assert find_topic_box("vigie/v1/box-1/telemetry") == "box-1"
    assert find_topic_box("vigie/v1/box-1/telemetry/cbor") == "box-1"
    assert find_topic_box("vigie/v1/box-1/config/reported") == "box-1"
    assert find_topic_box("application/7/device/70b3d57ed0000001/event/up") == "70b3d57ed0000001"
    assert find_topic_box("vigie/v1/@a/telemetry") is None


def test_all_topics_of_a_box_have_the_partition_of_its_site() -> None:
    copy = loaded({"box-1": 3})
    assert {copy.find_partition(f"vigie/v1/box-1/{kind}") for kind in ("telemetry", "event", "status")} == {3}
    assert copy.find_partition("vigie/v1/new/event") == find_unknown_box_partition("new", PARTITIONS)
    assert copy.find_partition("other") == find_unknown_box_partition("other", PARTITIONS)


def test_a_moved_box_makes_its_new_partition_wait_for_the_former_one_and_back() -> None:
    copy = loaded({"box-1": 0, "box-2": 1})
    assert copy.find_partition("vigie/v1/box-1/event") == 0
    copy.apply([("box-1", 2)])
    assert copy.find_partition("vigie/v1/box-1/event") == 2
    assert copy.take_sources([0, 1]) == {}
    copy.apply([("box-1", 0)])
    assert copy.take_sources([0, 1, 2]) == {0: {2}, 2: {0}}
    assert copy.take_sources(range(PARTITIONS)) == {}
    copy.apply([("box-2", 1)])  # changed, but not moved
    assert copy.take_sources(range(PARTITIONS)) == {}


def test_sources_stay_until_their_partition_has_a_record() -> None:
    copy = loaded({"box-1": 0, "box-2": 1})
    copy.apply([("box-1", 2)])
    copy.apply([("box-2", 2)])
    assert copy.take_sources([0, 3]) == {}
    assert copy.take_sources([2]) == {2: {0, 1}}


def test_a_box_that_is_registered_or_deleted_moves_too() -> None:
    unknown = find_unknown_box_partition("box-1", PARTITIONS)
    partition = other_than(unknown)
    copy = loaded({})
    copy.apply([("box-1", partition)])
    assert copy.take_sources(range(PARTITIONS)) == {partition: {unknown}}
    copy.apply([("box-1", None)])
    assert copy.find_partition("vigie/v1/box-1/event") == unknown
    assert copy.take_sources(range(PARTITIONS)) == {unknown: {partition}}


def test_the_first_record_of_each_partition_comes_after_all_others() -> None:
    copy = BoxPartitions(3)
    assert copy.take_sources([1]) == {1: {0, 2}}
    assert copy.take_sources(range(3)) == {0: {1, 2}, 2: {0, 1}}


def test_the_cache_of_topics_is_bounded() -> None:
    copy = loaded({})
    for number in range(box_partitions._MAX_TOPICS + 10):
        copy.find_partition(f"vigie/v1/{number}/event")
    copy.find_partition("x" * 500)
    assert len(copy._topics) == 10


def test_a_box_that_moves_twice_without_a_message_comes_after_its_first_partition_too() -> None:
    copy = loaded({"box-1": 0})
    copy.apply([("box-1", 1)])
    copy.apply([("box-1", 2)])
    assert copy.take_sources([2]) == {2: frozenset({0, 1})}
