"""What the log of attempts has of the headers of answers."""

import json

from app.notifications.http.answer_headers import shorten_headers


def test_headers_are_few_short_and_without_credentials() -> None:
    headers = [("Content-Type", "application/json"), ("Set-Cookie", "session=1"), ("Set-Cookie", "b=2")]
    headers += [("X-Long", "y" * 1000), ("Via", "one"), ("via", "two")]
    headers += [(f"X-{number}", "z") for number in range(100)]
    found = shorten_headers(headers)
    assert len(found) == 24
    assert found["content-type"] == "application/json"
    assert found["set-cookie"] == "…"
    assert found["x-long"] == "y" * 256
    assert found["via"] == "one, two"


def test_values_are_valid_text_for_the_database() -> None:
    found = shorten_headers([("X-Odd", "a\x00b\udcff")])
    assert found == {"x-odd": "a\ufffdb?"}
    assert "\\u0000" not in json.dumps(found)
