import json

from app.ingest.acks import messages_of
from app.ingest.receipt import BoxAck, Receipt


def test_empty_lists_are_left_out() -> None:
    (message,) = messages_of("box-1", BoxAck(seqs=[1, 2]))
    assert message == ("vigie/v1/box-1/ack", b'{"seqs":[1,2]}')


def test_long_lists_are_split_and_nothing_is_left_out() -> None:
    ack = BoxAck(seqs=list(range(1200)), event_seqs=[7], rejected=[{"seq": 9, "code": "unknown_metric"}])
    parts = [json.loads(payload) for _, payload in messages_of("b", ack)]
    assert [len(part["seqs"]) for part in parts] == [500, 500, 200]
    assert [seq for part in parts for seq in part["seqs"]] == list(range(1200))
    assert [part.get("event_seqs") for part in parts] == [[7], None, None]


def test_receipts_of_halves_add_up() -> None:
    one = Receipt("mqtt", stored=1, duplicate=2, acks={"a": BoxAck(seqs=[1])})
    one.add(Receipt("mqtt", stored=3, conflict=1, acks={"a": BoxAck(seqs=[2]), "b": BoxAck(event_seqs=[5])}))
    assert (one.stored, one.duplicate, one.conflict) == (4, 2, 1)
    assert one.acks["a"].payload() == {"seqs": [1, 2]}
    assert one.acks["b"].payload() == {"event_seqs": [5]}
