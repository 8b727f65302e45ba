"""Which UUIDs begin with a query."""

from uuid import UUID

import pytest

from app.platform.db.search_terms import parse_id_prefix


@pytest.mark.parametrize("query", ["0199D1C5", "0199d1c5-", " 0199d1c5 "])
def test_a_beginning_is_a_range_of_uuids(query: str) -> None:
    assert parse_id_prefix(query) == (
        UUID("0199d1c5-0000-0000-0000-000000000000"),
        UUID("0199d1c5-ffff-ffff-ffff-ffffffffffff"),
    )


def test_a_whole_uuid_is_the_only_one_in_its_range() -> None:
    whole = UUID("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11")
    assert parse_id_prefix(str(whole)) == (whole, whole)


@pytest.mark.parametrize("query", ["", "abc", "box-0001", "0199d1c57a3e7c549d1e5b6f0a2c8e110", "beef è"])
def test_other_texts_begin_no_uuid(query: str) -> None:
    assert parse_id_prefix(query) is None
