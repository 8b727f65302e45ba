import asyncio
import threading
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from fastapi import FastAPI, Request

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract import html_forms
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.errors import InvalidError


def form_request(body: bytes, headers: dict[str, str] | None = None) -> Request:
    """A form that a browser sends."""
    app = FastAPI()
    provide_resources(app, ApiSettings())
    sent = {"host": "vigie.test", "sec-fetch-site": "same-origin"} if headers is None else headers

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b"", "app": app}
    return Request(scope, receive)


async def read(body: bytes) -> list[tuple[str, str]]:
    return await html_forms.read_form_pairs(form_request(body), most=4_000_000, most_fields=10)


async def test_large_forms_are_parsed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def parse(text: str, **more: Any) -> list[tuple[str, str]]:  # noqa: ANN401 (its options)
        threads.append(threading.current_thread())
        return parse_qsl(text, **more)

    monkeypatch.setattr(html_forms, "parse_qsl", parse)
    for text in ("é\r\n", "é\r\n" * 30_000):
        assert await read(urlencode({"a": text}).encode()) == [("a", text.replace("\r\n", "\n"))]
    assert [each is threading.current_thread() for each in threads] == [True, False]


async def test_a_large_form_that_cannot_be_parsed_is_refused() -> None:
    for body in (b"\xff" * 100_000, b"a=1&" * 20_000):
        with pytest.raises(InvalidError) as refused:
            await read(body)
        assert refused.value.code == "invalid_form"
