"""The fast path takes nothing that the exact path would not, and with the same result."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.ingest.codec.reference_telemetry_decoder import decode_exact, decode_http_exact
from app.ingest.codec.telemetry_codec import (
    MAX_FUTURE_US,
    DecodedTelemetry,
    decode_http_telemetry,
    decode_singles,
    decode_telemetry,
)
from app.platform.kernel.instants import EARLIEST_US, format_us, parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError

NOW = parse_rfc3339("2026-11-24T10:00:05Z")
EXAMPLES = settings(max_examples=200, deadline=None)


def number_texts(low: float, high: float) -> st.SearchStrategy[str]:
    """Numbers in every form that JSON knows, mostly within bounds."""
    floats = st.floats(low, high)
    return st.one_of(
        floats.map(repr),
        floats.map(lambda x: f"{x:.3e}"),
        floats.map(lambda x: f"{x:.17E}"),
        floats.map(lambda x: f"{x:.40f}"),
        st.integers(int(low), int(high)).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.sampled_from(
            [
                "-0",
                "-0.0",
                "0e9",
                "1e-400",
                "5e-324",
                "1e400",
                "01",
                "1.",
                "NaN",
                "9007199254740993",
                "1" * 400,
            ]
        ),
    )


def times() -> st.SearchStrategy[str]:
    instants = st.integers(EARLIEST_US, NOW + MAX_FUTURE_US)
    fractions = st.integers(0, 10**9 - 1).map(lambda n: f'"2026-11-24T09:59:59.{n:09d}Z"')
    return st.one_of(
        instants.map(lambda us: str(us // 1_000)),
        instants.map(lambda us: f'"{format_us(us)}"'),
        instants.map(lambda us: f'"{format_us(us)[:-1]}+00:00"'),
        instants.map(lambda us: f'"{format_us(us)[:-1].replace("T", "t")}+01:30"'),
        fractions,
        st.integers(-(2**70), 2**70).map(str),
        st.sampled_from(
            [
                *('"2026-11-24 09:00:00Z"', '"2026-11-24T09:00:00+0000"', '"2026-11-24T09:00:00.9999999Z"'),
                *(
                    '"2026-11-24T24:00:00Z"',
                    '"2026-11-24T09:59:60Z"',
                    '"2026-02-29T09:00:00Z"',
                    "null",
                    "true",
                ),
                *(
                    '"2026-11-24T09:00:00"',
                    '"2026-W48-2T09:00:00Z"',
                    '"20261124T090000.000Z"',
                    "1.5e12",
                    "-0",
                ),
                *('"2026-11-24T09:00:00,5Z"', '"2026-11-24T09:00:00+24:00"', '"2026-11-24T09:00:00.Z"'),
                *('"2026-11-24T09:00:00Z\\u0000"', '"\\""', '"2026-11-24T09:00:00\\u005A"'),
                *('"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00+01:00"'),
            ]
        ),
    )


def key(name: str) -> st.SearchStrategy[str]:
    """A key as it is, or with a character escaped."""
    escaped = st.integers(0, len(name) - 1).map(lambda i: f'"{name[:i]}\\u{ord(name[i]):04x}{name[i + 1 :]}"')
    return st.one_of(st.just(f'"{name}"'), st.just(f'"{name}"'), escaped)


space = st.sampled_from(["", "", " ", "\n\t", "\r "])


@st.composite
def objects(draw: st.DrawFn, members: list[tuple[str, st.SearchStrategy[str]]]) -> str:
    parts = [f"{draw(key(name))}{draw(space)}:{draw(space)}{draw(value)}" for name, value in members]
    return "{" + draw(space) + ("," + draw(space)).join(parts) + draw(space) + "}"


@st.composite
def samples(draw: st.DrawFn) -> str:
    # Names can come twice, here and there: duplicates have to be seen.
    names = draw(st.lists(st.sampled_from([*COLUMNS, "pm1", "warp"]), max_size=6))
    values = objects(
        [
            (
                n,
                number_texts(METRICS_BY_NAME[n].minimum, METRICS_BY_NAME[n].maximum)
                if n in METRICS_BY_NAME
                else st.just("1"),
            )
            for n in names
        ]
    )
    members: list[tuple[str, st.SearchStrategy[str]]] = [("time", times()), ("values", values)]
    if draw(st.booleans()):
        members.append(
            (
                "seq",
                st.one_of(
                    st.integers(-1, 2**53 + 1).map(str), st.sampled_from(["1.0", "null", '"1"', "1e2"])
                ),
            )
        )
    extra = draw(st.sampled_from([None, None, None, None, "time", "seq", "values", "x"]))
    if extra:
        members.append((extra, st.sampled_from(["1", '"a"', "{}", "[]", "null"])))
    return draw(objects(draw(st.permutations(members))))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        text = draw(samples())
    else:
        batch = ",".join(draw(st.lists(samples(), max_size=3)))
        text = draw(objects([("samples", st.just(f"[{batch}]"))]))
    return (draw(space) + text + draw(space)).encode()


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    payload = bytearray(draw(of))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(payload)))
        end = min(len(payload), at + draw(st.integers(0, 3)))
        token = draw(
            st.one_of(
                st.sampled_from(b'"\\{}[]:,0-+.eE \x00\xff\xef').map(lambda b: bytes([b])),
                st.binary(max_size=3),
            )
        )
        payload[at:end] = token
    return bytes(payload)


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - rows and rejections
    """Equal to the sign of zero and to the type."""
    return repr(one) == repr(other)


def agree(payload: bytes) -> DecodedTelemetry:
    exact = decode_exact(payload, NOW, MAX_FUTURE_US)
    assert same(decode_telemetry(payload, NOW), exact)
    (single,) = decode_singles([payload], NOW)
    if single is not None:
        assert same(exact, DecodedTelemetry([single], []))
    return exact


@EXAMPLES
@given(messages())
def test_drawn_messages(payload: bytes) -> None:
    agree(payload)


@EXAMPLES
@given(mutated(messages()))
def test_mutated_messages(payload: bytes) -> None:
    agree(payload)


@EXAMPLES
@given(
    st.one_of(messages(), mutated(messages())),
    st.sampled_from(["b", "box-0001", "", "a b", "é", r"\u0062", r"b\u0000"]),
)
def test_http_bodies(payload: bytes, box: str) -> None:
    # A batch becomes a body by one more member; a sample or a broken message becomes whatever it becomes.
    body = payload.replace(b"{", b'{"box":"' + box.encode() + b'",', 1)
    try:
        exact = repr(decode_http_exact(body, NOW, MAX_FUTURE_US))
    except RejectedError as error:
        exact = str(error)
    try:
        fast = repr(decode_http_telemetry(body, NOW))
    except RejectedError as error:
        fast = str(error)
    assert fast == exact


valid = st.fixed_dictionaries(
    {
        "time": st.one_of(
            st.integers(EARLIEST_US // 1_000, NOW // 1_000),
            st.integers(EARLIEST_US, NOW).map(format_us),
            st.integers(EARLIEST_US, NOW).map(lambda us: format_us(us)[:-1] + "+00:00"),
        ),
        "values": st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True).flatmap(
            lambda names: st.fixed_dictionaries(
                {n: st.floats(METRICS_BY_NAME[n].minimum, METRICS_BY_NAME[n].maximum) for n in names}
            )
        ),
    },
    optional={"seq": st.integers(0, 2**53)},
)


@EXAMPLES
@given(valid)
def test_every_valid_sample_takes_the_fast_path(sample: dict[str, Any]) -> None:
    payload = json.dumps(sample).encode()
    (single,) = decode_singles([payload], NOW)
    assert single is not None
    assert same(decode_exact(payload, NOW, MAX_FUTURE_US), DecodedTelemetry([single], []))
    time_us, seq, columns = single
    expected = sample["time"]
    assert time_us == (expected * 1_000 if isinstance(expected, int) else parse_rfc3339(expected))
    assert seq == sample.get("seq")
    assert {n: v for n, v in zip(COLUMNS, columns, strict=True) if v is not None} == sample["values"]
