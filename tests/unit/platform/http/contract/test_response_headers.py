"""The head of an answer goes through a step; its body does not."""

from starlette.types import Message

from app.platform.http.contract.buffered_response import append_headers, map_response_start


async def test_the_head_alone_goes_through_the_step() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    sending = map_response_start(send, lambda message: append_headers(message, [(b"x-more", b"1")]))
    head: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-first", b"0")]}
    body: Message = {"type": "http.response.body", "body": b"{}"}
    await sending(head)
    await sending(body)
    assert sent == [{**head, "headers": [(b"x-first", b"0"), (b"x-more", b"1")]}, body]
    assert head["headers"] == [(b"x-first", b"0")]
