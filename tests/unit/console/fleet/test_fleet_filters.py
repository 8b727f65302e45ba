import pytest

from app.console.fleet.fleet_filters import build_selection, read_box_filters


def test_only_filters_with_a_value_are_read() -> None:
    given = {"q": " x ", "site": "", "tag": "lot:1", "cursor": "abc", "operation": "delete"}
    assert read_box_filters(given) == {"q": "x", "tag": "lot:1"}


def test_filters_become_the_selection_of_an_operation() -> None:
    filters = {"q": "x", "tag": "lot:1", "battery_below": "20.5", "activity": "silent"}
    assert build_selection(filters) == {"q": "x", "tag": ["lot:1"], "battery_below": 20.5, "silent": True}
    # No selection means what the list means by it.
    assert build_selection({"activity": "refused"}) is None
    with pytest.raises(ValueError, match="could not convert"):
        build_selection({"battery_below": "many"})


def test_a_firmware_version_is_a_filter_of_the_list_and_of_bulk_operations() -> None:
    filters = read_box_filters({"firmware_below": " 2.4.0 ", "firmware": ""})
    assert filters == {"firmware_below": "2.4.0"}
    assert build_selection(filters) == {"firmware_below": "2.4.0"}
