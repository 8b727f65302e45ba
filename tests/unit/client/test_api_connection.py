"""Errors of requests: they say what to do, and never contain the key."""

from pathlib import Path

import pytest

from app.client.api_connection import ApiConnection
from app.client.client_errors import ApiError, UnreachableError
from app.client.export_download import ExportDownload
from app.client.profiles import Profile
from tests.unit.client.scripted_server import Answer, answering

MOVED: Answer = (
    308,
    {"location": "https://user:secret@new.example/v1/sites?a=b", "content-type": "text/html"},
    b"<html>moved</html>",
)


def test_a_redirect_is_named_and_not_followed(tmp_path: Path) -> None:
    with answering([MOVED]) as server, ApiConnection(Profile(server.url, "vg_a")) as api:
        with pytest.raises(
            ApiError, match=r"redirects to https://new\.example/v1/sites\. Log in to the new address"
        ) as told:
            api.get("/v1/sites")
        assert told.value.status == 308
        target = tmp_path / "hours.parquet"
        download = ExportDownload(
            api, Profile(server.url, "vg_a"), [("metric", "laeq")], "parquet", report=str
        )
        with pytest.raises(ApiError, match="redirects to"):
            download.write_file(target)
    assert not target.exists()


def test_an_error_of_a_header_does_not_contain_the_key() -> None:
    with (
        ApiConnection(Profile("http://127.0.0.1:1", "vg_secret\n"), sleep=lambda _: None) as api,
        pytest.raises(UnreachableError) as told,
    ):
        api.get("/v1/sites")
    assert "secret" not in str(told.value)
