"""The history in entries: what happened together is told once, and nothing is lost between pages."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.public_register.change_history import ChangeHistoryPage, group_changes
from app.public_register.change_texts import describe_change
from app.public_register.register_model import RegisterChange
from app.public_register.register_value_formatter import RegisterFormatter

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HERE, THERE = UUID(int=1), UUID(int=2)


def change(number: int, minutes: float, kind: str, site: Any = HERE, **data: Any) -> RegisterChange:  # noqa: ANN401
    return RegisterChange(number, NOW - timedelta(minutes=minutes), site, "A", kind, data)


def test_two_hundred_boxes_one_by_one_are_one_line() -> None:
    found = group_changes([change(200 - n, n, "boxes_added", count=1) for n in range(200)], 100)
    (entry,) = found.entries
    assert describe_change(entry.change, RegisterFormatter("en")) == "Boxes added: 200."
    assert (entry.change.id, entry.first.id) == (200, 1)


def test_what_lies_apart_in_time_place_or_kind_stays_apart() -> None:
    found = group_changes(
        [
            change(6, 0, "boxes_added", count=1),
            change(5, 1, "boxes_added", THERE, count=2),
            change(4, 2, "boxes_removed", count=4),
            change(3, 50, "boxes_added", count=8),
            change(2, 111, "boxes_added", count=16),
            change(1, 112, "site_renamed", **cast("dict[str, Any]", {"from": "B"})),
        ],
        100,
    )
    counts = [each.change.data.get("count") for each in found.entries]
    assert counts == [9, 2, 4, 16, None]


def test_purposes_that_say_the_same_are_told_together() -> None:
    english, french = RegisterFormatter("en"), RegisterFormatter("fr")
    declared: dict[str, Any] = {"legal_basis": "public_task", "sensitive": False}
    found = group_changes(
        [
            change(3, 0, "purpose_declared", purpose="noise", **declared),
            change(2, 1, "purpose_declared", purpose="air_quality", **declared),
            change(1, 2, "purpose_declared", purpose="odour", **{**declared, "legal_basis": None}),
        ],
        100,
    )
    said = [describe_change(each.change, english) for each in found.entries]
    assert said == [
        "Purposes declared: Air quality and Noise. Legal basis: Public task (GDPR, Article 6(1)(e)).",
        "Purpose declared: Odours. Legal basis: not set.",
    ]
    assert describe_change(found.entries[1].change, french).startswith("Finalité déclarée\xa0: Odeurs")


@given(
    st.lists(
        st.tuples(st.sampled_from(["boxes_added", "boxes_removed"]), st.sampled_from([HERE, THERE])),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_no_change_is_lost_or_told_twice_between_pages(happened: list[tuple[str, UUID]], most: int) -> None:
    changes = [
        change(len(happened) - n, 20 * n, kind, site, count=1) for n, (kind, site) in enumerate(happened)
    ]
    total, before, pages = 0, None, 0
    while True:
        page: ChangeHistoryPage = group_changes(
            [each for each in changes if before is None or each.id < before], most
        )
        assert len(page.entries) <= most
        total += sum(each.change.data["count"] for each in page.entries)
        before, pages = page.before, pages + 1
        if before is None:
            break
    assert total == len(changes)
