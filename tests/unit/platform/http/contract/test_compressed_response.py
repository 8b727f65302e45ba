"""The headers that choose between a plain body, a compressed one and 304."""

import gzip

import pytest

from app.platform.http.contract.compressed_response import accepts_gzip, compress, has_current_copy


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
    ],
)
def test_gzip_is_sent_to_who_accepts_it(header: str, accepted: bool) -> None:  # noqa: FBT001 (a table)
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize(
    ("header", "current"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False)],
)
def test_a_copy_is_current_if_its_tag_is_named(header: str, current: bool) -> None:  # noqa: FBT001 (a table)
    assert has_current_copy(header, '"a"') is current


def test_the_same_body_is_compressed_to_the_same_bytes() -> None:
    packed = compress(b"a" * 5_000, 1)
    assert packed == compress(b"a" * 5_000, 1)
    assert gzip.decompress(packed) == b"a" * 5_000
    assert len(packed) < 200
