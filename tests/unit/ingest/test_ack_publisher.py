import json

from app.ingest.ack_publisher import build_ack_messages
from app.ingest.pipeline.batch_receipt import BatchReceipt, BoxAck, identify_message


def test_empty_lists_are_left_out() -> None:
    (message,) = build_ack_messages("box-1", BoxAck(seqs=[1, 2]))
    assert message == ("vigie/v1/box-1/ack", b'{"seqs":[1,2]}')


def test_long_lists_are_split_and_nothing_is_left_out() -> None:
    ack = BoxAck(seqs=list(range(1200)), event_seqs=[7], rejected=[{"seq": 9, "code": "unknown_metric"}])
    parts = [json.loads(payload) for _, payload in build_ack_messages("b", ack)]
    assert [len(part["seqs"]) for part in parts] == [500, 500, 200]
    assert [seq for part in parts for seq in part["seqs"]] == list(range(1200))
    assert [part.get("event_seqs") for part in parts] == [[7], None, None]


def test_refused_messages_come_last() -> None:
    refused = [{"code": "invalid_json", **identify_message(b"x%d" % number, None)} for number in range(150)]
    ack = BoxAck(seqs=list(range(600)), refused=refused)
    parts = [json.loads(payload) for _, payload in build_ack_messages("b", ack)]
    assert [sorted(part) for part in parts] == [["seqs"], ["refused", "seqs"], ["refused"]]
    assert [entry for part in parts for entry in part.get("refused", [])] == refused


def test_a_message_is_identified_without_what_it_says() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert identify_message(b"", None) == {"size": 0, "sha256": empty}
    assert identify_message(b"", b"\x00\xff") == {
        "size": 0,
        "sha256": empty,
        "correlation_data": "AP8=",
    }
    assert "correlation_data" in identify_message(b"", b"x" * 128)
    assert "correlation_data" not in identify_message(b"", b"x" * 129)


def test_receipts_of_halves_add_up() -> None:
    one = BatchReceipt("mqtt", stored=1, duplicate=2, acks={"a": BoxAck(seqs=[1])})
    one.add(
        BatchReceipt("mqtt", stored=3, conflict=1, acks={"a": BoxAck(seqs=[2]), "b": BoxAck(event_seqs=[5])})
    )
    assert (one.stored, one.duplicate, one.conflict) == (4, 2, 1)
    assert one.acks["a"].payload() == {"seqs": [1, 2]}
    assert one.acks["b"].payload() == {"event_seqs": [5]}
