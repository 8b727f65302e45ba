import pytest
from fastapi import Request

from app.console.framework.console_visit import parse_console_page, read_page_address


def request_of(method: str, path: str, query: str = "") -> Request:
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    return Request({**scope, "server": ("vigie.test", 80), "scheme": "http"})


@pytest.mark.parametrize(
    ("query", "address"),
    [
        ("", "/console/alerts"),
        ("state=&site=a%20b", "/console/alerts?state=&site=a%20b"),
        ("state=firing&done=saved&done=x&undone=1", "/console/alerts?state=firing&undone=1"),
        ("done=saved", "/console/alerts"),
    ],
)
def test_a_page_is_at_its_address_without_its_message(query: str, address: str) -> None:
    assert read_page_address(request_of("GET", "/console/alerts", query)) == address


def test_a_page_that_answers_a_form_is_at_the_address_of_the_form() -> None:
    request = request_of("POST", "/console/alerts/bulk", "x=1")
    assert read_page_address(request) == "/console/alerts/bulk"
    request.state.page_address = "/console/alerts?state="
    assert read_page_address(request) == "/console/alerts?state="


@pytest.mark.parametrize(
    "page",
    ["", "//evil.example", "https://evil.example", "/v1/me", "/console//x", "/console\\x", "/console\n"],
)
def test_a_page_of_another_website_is_the_first_page(page: str) -> None:
    assert parse_console_page(page) == "/console"


def test_the_sign_in_is_no_page_to_return_to() -> None:
    assert parse_console_page("/console/sign-in?next=/console/rules") == "/console"
    assert parse_console_page("/console/rules?q=a") == "/console/rules?q=a"
