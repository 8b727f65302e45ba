"""Of a batch that strict JSON refuses, each sample is judged by itself; none is taken that was not sent."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.batch_recovery import MAX_RECOVERED, find_seq, recover_batch
from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US, decode_telemetry
from app.platform.kernel.instants import parse_rfc3339
from app.platform.kernel.rejection_codes import InputRejection

NOW = parse_rfc3339("2026-11-24T10:00:05Z")
NAN = '{"seq": 7, "time": "2026-11-24T09:00:07Z", "values": {"pm1": NaN}}'


def sample(seq: int, value: float = 1) -> str:
    time = f"2026-11-24T09:{seq // 60 % 60:02d}:{seq % 60:02d}Z"
    return json.dumps({"seq": seq, "time": time, "values": {"pm1": value}})


def batch(*samples: str, end: str = "]}") -> bytes:
    return ('{"samples": [' + ", ".join(samples) + end).encode()


def sort(payload: bytes, kind: str = "telemetry") -> DecodedBatch:
    return decode_batch([f"vigie/v1/a/{kind}"], [payload], now_us=NOW, max_future_us=MAX_FUTURE_US)


def stored(intake: DecodedBatch) -> list[int | None]:
    return [row[1] for row in intake.rows]


def refused(intake: DecodedBatch) -> list[tuple[int | None, str]]:
    return [(refusal.rejection.seq, refusal.rejection.code) for refusal in intake.rejections]


def test_sixty_samples_with_one_nan_lose_one() -> None:
    samples = [sample(seq) for seq in range(60)]
    samples[7] = NAN
    intake = sort(batch(*samples))
    assert stored(intake) == [seq for seq in range(60) if seq != 7]
    assert refused(intake) == [(7, "invalid_json")]
    assert intake.rejections[0].rejection.index == 7
    assert intake.rejections[0].part == NAN.encode()


def _bad(values: str) -> str:
    return f'{{"seq": 2, "time": "2026-11-24T09:00:02Z", "values": {values}}}'


@pytest.mark.parametrize(
    ("bad", "seq", "code"),
    [
        (_bad('{"pm1": Infinity}'), 2, "invalid_json"),
        (_bad('{"pm1": 1e400}'), 2, "number_out_of_range"),
        (_bad('{"pm1": ' + "9" * 5_000 + "}"), 2, "number_out_of_range"),
        (_bad('{"pm1": 01}'), 2, "invalid_json"),
        (_bad('{"pm1": 1,}'), 2, "invalid_json"),
        (_bad('{"pm1": 1, "pm1": 1}'), 2, "duplicate_key"),
        (_bad(r'{"\ud800": 1}'), 2, "lone_surrogate"),
        (_bad('{"pm1": ' + "[" * 9 + "]" * 9 + "}"), 2, "nesting_too_deep"),
        (_bad('{"pm1": "\xff"}'), 2, "invalid_encoding"),
        ("NaN", None, "invalid_json"),
        ('{"seq": 2, "seq": 3, "time": 1, "values": {}}', None, "duplicate_key"),
        ('{"time": 1, "values": {"seq": 2, "pm1": NaN}}', None, "invalid_json"),
        ('{"seq": 2.5, "time": 1, "values": {"pm1": NaN}}', None, "invalid_json"),
        ('{"seq": 9007199254740993, "time": 1, "values": {"pm1": NaN}}', None, "invalid_json"),
    ],
)
def test_one_bad_sample_is_refused_by_itself(bad: str, seq: int | None, code: str) -> None:
    intake = sort(batch(sample(1), bad, sample(3)).replace("\xff".encode(), b"\xff"))
    assert stored(intake) == [1, 3]
    assert refused(intake) == [(seq, code)]


def test_a_sample_with_another_fault_keeps_its_own_code() -> None:
    escaped = r'{"s\u0065q": 4, "time": "2026-11-24T09:00:04Z", "values": {"warp": 1}}'
    intake = sort(batch(sample(1), NAN, sample(2, -1), escaped))
    assert stored(intake) == [1]
    assert refused(intake) == [(7, "invalid_json"), (2, "value_out_of_bounds"), (4, "unknown_metric")]


@pytest.mark.parametrize(
    ("payload", "rest"),
    [
        (batch(sample(1), sample(2), sample(3, 12.5))[:-4], b'{"seq": 3, "time": "2026-11-24T09:00:03Z", '),
        (batch(sample(1), sample(2), end=""), b""),
        (batch(sample(1), sample(2), end=",]}"), b"]}"),
        (batch(sample(1), sample(2)) + batch(sample(3)), b']}{"samples": ['),
        (batch(sample(1), sample(2), '{"seq": 3, "time: 1}', sample(4)), b'{"seq": 3, "time: 1}'),
        (batch(sample(1), sample(2), '{"seq": 3, "time": [1}', sample(4)), b'{"seq": 3, "time": [1}'),
        (batch(sample(1), sample(2) + sample(3)), b'{"seq": 3'),
    ],
    ids=["cut short", "cut at a comma", "trailing comma", "two", "a quote", "a bracket", "no comma"],
)
def test_what_lies_behind_the_fault_is_refused_in_one_piece(payload: bytes, rest: bytes) -> None:
    """And not named by a `seq`: its box may send it once more by itself."""
    intake = sort(payload)
    assert stored(intake) == [1, 2]
    assert refused(intake) == [(None, "invalid_json")]
    assert intake.rejections[0].part.lstrip().startswith(rest)
    assert intake.rejections[0].rejection.index is None


def test_of_more_than_a_thousand_samples_the_first_thousand_are_taken() -> None:
    intake = sort(batch(*(sample(seq) for seq in range(1_003))))
    assert stored(intake) == list(range(1_000))
    assert refused(intake) == [(seq, "too_many_samples") for seq in (1_000, 1_001, 1_002)]
    assert [refusal.part for refusal in intake.rejections] == [
        sample(seq).encode() for seq in range(1_000, 1_003)
    ]


def test_far_too_many_samples_are_refused_as_a_whole() -> None:
    intake = sort(batch(*["{}"] * (MAX_RECOVERED + 1)))
    assert (stored(intake), refused(intake)) == ([], [(None, "too_many_samples")])
    many = sort(batch(*['{"a": 1, "b": 1, "c": 1}'] * 40_000))
    assert (stored(many), refused(many)) == ([], [(None, "too_many_samples")])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        batch(sample(1), NAN).decode().encode("utf-16"),
        b"\xef\xbb\xbf" + batch(sample(1), NAN),
        batch(sample(1), NAN).replace(b"samples", rb"s\u0061mples"),
        b'{"more": 1, ' + batch(sample(1), NAN)[1:],
        b"[" + batch(sample(1), NAN) + b"]",
        batch(sample(1))[:-30],
        b'{"samples": [',
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(payload: bytes) -> None:
    intake = sort(payload)
    assert stored(intake) == []
    assert [seq for seq, _ in refused(intake)] == [None]


def test_a_message_that_can_be_read_is_left_to_the_strict_codec() -> None:
    payload = b'{"samples": [' + sample(1).encode() + b'], "more": 1}'
    intake = sort(payload)
    assert (stored(intake), refused(intake)) == ([], [(None, "unknown_field")])
    assert recover_batch(payload, InputRejection("unknown_field", ""), NOW, MAX_FUTURE_US) is None


def test_a_single_sample_and_an_event_are_named_where_their_seq_is_beyond_doubt() -> None:
    assert refused(sort(NAN.encode())) == [(7, "invalid_json")]
    assert refused(sort(NAN.encode()[:-3])) == [(7, "invalid_json")]
    event = b'{"seq": 8, "time": 1795600000000, "type": "alarm", "level_db": NaN}'
    assert refused(sort(event, "event")) == [(8, "invalid_json")]
    assert refused(sort(event.replace(b'"seq"', b'"s"'), "event")) == [(None, "invalid_json")]


@pytest.mark.parametrize(
    "text",
    [
        b'{"seq": 12',
        b'{"seq": 12.5, "x": NaN}',
        b'{"seq": -1, "x": NaN}',
        b'{"seq": 012, "x": NaN}',
        b'{"seq": "12", "x": NaN}',
        rb'{"note": "\"seq\": 12,", "x": NaN}',
        b'{"x": [{"seq": 12}], "y": NaN}',
        b'{"seq": 12, "x": {"seq": 13}, "y": NaN}',
        b'"seq": 12,',
        b'{}{"seq": 12, "x": NaN}',
        b'{"samples": {"seq": 12, "x": NaN}',
    ],
)
def test_a_doubtful_seq_is_no_seq(text: bytes) -> None:
    assert find_seq(text) is None


SEQS = range(8)
PLAIN = batch(*(sample(seq, seq + 1) for seq in SEQS)).decode()
ROWS = decode_telemetry(PLAIN.encode(), NOW).samples
_STRUCTURE = [place for place, character in enumerate(PLAIN) if character in '{}[],:"']
_FAULTS = ["{", "}", "[", "]", ",", '"', "\\", " ", "NaN", "null", "\x00", "\ud800", "\xff", "}}, {", '"x"']


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The same batch with parts of its structure taken out, and others put in; no digit of it changes."""
    text = list(PLAIN)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(_STRUCTURE))
        if draw(st.booleans()):
            text[place] = ""
        else:
            text[place] += draw(st.sampled_from(_FAULTS))
    whole = "".join(text).encode("utf-8", "surrogatepass")
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


@given(payload=damaged())
@example(payload=PLAIN.encode())
@settings(max_examples=400, deadline=None)
def test_of_a_damaged_batch_only_what_was_sent_is_stored_and_each_seq_is_named_once(payload: bytes) -> None:
    intake = sort(payload)
    assert [row for row in intake.rows if row not in ROWS] == []
    named = [*stored(intake), *(seq for seq, _ in refused(intake) if seq is not None)]
    assert len(named) == len(set(named))
    assert set(named) <= set(SEQS)
    has_whole = any(seq is None for seq, _ in refused(intake))
    assert set(named) == set(SEQS) or has_whole


@given(
    values=st.lists(st.floats(0, 1_000).map(lambda x: round(x, 3)), min_size=1, max_size=6), data=st.data()
)
@settings(max_examples=200, deadline=None)
def test_of_a_batch_that_was_cut_no_number_is_read_shorter(values: list[float], data: st.DataObject) -> None:
    payload = batch(*(sample(seq, value) for seq, value in enumerate(values)))
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    intake = sort(cut)
    whole = decode_telemetry(payload, NOW).samples
    assert intake.rows == whole[: len(intake.rows)]
    assert len(intake.rows) == max(0, cut.count(b"}}"))
    assert [seq for seq, _ in refused(intake)] == [None]


@pytest.mark.parametrize("value", ["1", "NaN"])
def test_units_behind_the_samples_are_lost_by_none_of_them(value: str) -> None:
    """Cut short, such a batch would look as if its values came in their metrics' own units."""
    payload = batch(sample(1), sample(2).replace(": 1}", f": {value}}}"), end='], "units": {"pm1": "mg/m³"}}')
    intake = sort(payload)
    assert (stored(intake), refused(intake)) == (
        [],
        [(None, "wrong_unit" if value == "1" else "invalid_json")],
    )
