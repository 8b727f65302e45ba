"""Headers are added to the head of an answer, which stays as it was."""

from starlette.types import Message

from app.platform.http.contract.buffered_response import append_headers


def test_further_headers_follow_those_of_the_head() -> None:
    head: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-first", b"0")]}
    assert append_headers(head, [(b"x-more", b"1")]) == {
        **head,
        "headers": [(b"x-first", b"0"), (b"x-more", b"1")],
    }
    assert head["headers"] == [(b"x-first", b"0")]
