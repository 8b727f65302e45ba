import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.http.contract.pagination import cut_page, decode_cursor, encode_cursor
from app.platform.kernel.errors import InvalidError


@given(st.text(), st.integers())
def test_a_cursor_comes_back_as_it_was_made(text: str, number: int) -> None:
    assert decode_cursor("rows", encode_cursor("rows", text, number), str, int) == [text, number]


@given(st.text(max_size=200))
def test_no_invented_cursor_is_taken(cursor: str) -> None:
    with pytest.raises(InvalidError) as raised:
        decode_cursor("rows", cursor, str)
    assert raised.value.code == "invalid_cursor"


def test_a_cursor_belongs_to_one_list() -> None:
    with pytest.raises(InvalidError):
        decode_cursor("sites", encode_cursor("boxes", "a"), str)


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    cursor = encode_cursor("rows", "0191d5f0")
    place = data.draw(st.integers(0, len(cursor) - 2))
    other = data.draw(st.sampled_from("AZaz09-_"))
    changed = cursor[:place] + other + cursor[place + 1 :]
    if changed != cursor:
        with pytest.raises(InvalidError):
            decode_cursor("rows", changed, str)


def test_a_page_is_cut_at_its_limit() -> None:
    assert cut_page([1, 2, 3], 3, str) == ([1, 2, 3], None)
    assert cut_page([1, 2, 3, 4], 3, str) == ([1, 2, 3], "3")
