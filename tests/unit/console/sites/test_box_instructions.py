import json
import shlex
from typing import Any

import pytest

from app.catalogue.metrics import CATALOGUE
from app.console.sites.box_instructions import choose_measured, write_http_line, write_mqtt_line

PLAIN: dict[str, Any] = {"host": "127.0.0.1", "port": 1883, "tls": False, "authentication": "password"}


def read_words(line: str) -> list[str]:
    line = line.replace("\\\n", "")
    return shlex.split(line.replace("'$(date -u +%FT%TZ)'", "2026-03-01T00:00:00Z"))


def test_the_line_has_the_address_the_credentials_and_a_sample() -> None:
    words = read_words(write_mqtt_line(PLAIN, "box-1", "a-b_c"))
    assert words[:9] == ["mosquitto_pub", "-h", "127.0.0.1", "-p", "1883", "-u", "box-1", "-P", "a-b_c"]
    assert words[9:13] == ["-q", "1", "-t", "vigie/v1/box-1/telemetry"]
    assert json.loads(words[-1]) == {"time": "2026-03-01T00:00:00Z", "values": {"temperature": 21.5}}


def test_an_unknown_password_is_a_variable_and_an_odd_one_is_quoted() -> None:
    assert '-P "$PASSWORD"' in write_mqtt_line(PLAIN, "box-1", None)
    assert read_words(write_mqtt_line(PLAIN, "box-1", "a b'$(c)"))[8] == "a b'$(c)"
    assert read_words(write_mqtt_line({**PLAIN, "host": "x; rm"}, "box-1", None))[2] == "x; rm"


@pytest.mark.parametrize(
    ("authentication", "given", "absent"),
    [
        ("password", {"--cafile", "-u", "-P"}, {"--cert"}),
        ("certificate", {"--cafile", "-u", "-P", "--cert", "--key"}, set()),
        ("identity", {"--cafile", "--cert", "--key"}, {"-u", "-P"}),
    ],
)
def test_tls_needs_the_files_of_the_listener(authentication: str, given: set[str], absent: set[str]) -> None:
    words = set(
        read_words(write_mqtt_line({**PLAIN, "tls": True, "authentication": authentication}, "b", "p"))
    )
    assert given <= words
    assert not absent & words


def test_the_http_line_sends_the_same_sample() -> None:
    line = write_http_line("https://vigie.example.com", "box-1", "vg_x")
    words = read_words(line)
    assert words[:5] == [
        *("curl", "-sS", "https://vigie.example.com/v1/telemetry"),
        *("-H", "Authorization: Bearer vg_x"),
    ]
    sample = {"time": "2026-03-01T00:00:00Z", "values": {"temperature": 21.5}}
    assert json.loads(words[-1]) == {"box": "box-1", "samples": [sample]}
    assert '"Authorization: Bearer $API_KEY"' in write_http_line("http://x", "box-1")


def test_the_example_has_what_the_box_measures_within_its_limits() -> None:
    names = [each.name for each in CATALOGUE]
    values = json.loads(read_words(write_mqtt_line(PLAIN, "b", "p", names[::-1]))[-1])["values"]
    assert list(values) == names
    assert all(each.minimum <= values[each.name] <= each.maximum for each in CATALOGUE)
    assert choose_measured(["pm10", "unknown"]) == ["pm10"]
    assert choose_measured(["<script>"]) == ["temperature"]
