"""Downloads that broke off: which of them are continued."""

import json
import os
import time
from pathlib import Path

import pytest

from app.client.api_connection import ApiConnection
from app.client.client_errors import ClientError, UnreachableError
from app.client.export_download import ExportDownload
from app.client.profiles import Profile
from tests.unit.client.scripted_server import Answer, answering

HEAD = b"box,site,time,pm2_5\n"
FIRST = b"b-1,s,2026-11-01T00:00:00Z,1\n"
SECOND = b"b-1,s,2026-11-01T00:01:00Z,2\n"
ADDRESS = "/v1/readings/export?from=2026-11-01T00%3A00%3A00Z"
CUT: Answer = (200, {"content-length": "1000", "content-location": ADDRESS}, HEAD + FIRST)
REST: Answer = (200, {"content-location": ADDRESS}, SECOND)
RANGE = [("from", "2026-11-01T00:00:00Z"), ("to", "2026-11-02T00:00:00Z")]


@pytest.mark.parametrize(
    ("parameters", "age_s", "key", "resumed"),
    [
        ([], 60, "vg_a", True),
        ([], 7200, "vg_a", False),
        (RANGE, 7200, "vg_a", True),
        (RANGE[:1], 7200, "vg_a", False),
        (RANGE, 60, "vg_b", False),
    ],
)
def test_a_file_is_continued_if_it_is_the_same_export(
    tmp_path: Path, parameters: list[tuple[str, str]], age_s: int, key: str, *, resumed: bool
) -> None:
    target = tmp_path / "day.csv"
    with answering([CUT, REST]) as server:
        for number, of in enumerate(("vg_a", key)):
            profile = Profile(server.url, of)
            with ApiConnection(profile) as api:
                # The first run gives up after its first attempt.
                download = ExportDownload(api, profile, parameters, "csv", report=str, sleep=_give_up)
                if number == 0:
                    with pytest.raises(UnreachableError):
                        download.write_file(target)
                    _make_older(tmp_path / "day.csv.partial", age_s)
                else:
                    download.write_file(target)
    assert ("after=" in server.requests[1][0]) == resumed
    assert target.read_bytes() == (HEAD + FIRST + SECOND if resumed else SECOND)
    assert [path.name for path in tmp_path.iterdir()] == ["day.csv"]


def test_parts_without_a_range_are_those_of_the_last_day(tmp_path: Path) -> None:
    listed = {"data": [{"number": 1, "href": "/v1/part"}], "next": None}
    answers: list[Answer] = [
        (200, {"content-type": "application/json"}, json.dumps(listed).encode()),
        (200, {}, HEAD + FIRST),
    ]
    with answering(answers) as server:
        profile = Profile(server.url, "vg_a")

        def download(key: str = "vg_a") -> int:
            with ApiConnection(Profile(server.url, key)) as api:
                made = ExportDownload(api, Profile(server.url, key), [], "csv", report=str)
                return made.write_parts(tmp_path)

        assert download() == download() == 1
        assert len(server.requests) == 2
        with pytest.raises(ClientError, match="another key's"):
            download("vg_b")
        for file in tmp_path.iterdir():
            _make_older(file, 7200)
        with pytest.raises(ClientError, match="older export of the last day"):
            download()
    assert profile.key not in (tmp_path / "parts.json").read_text()


def _give_up(_: float) -> None:
    raise UnreachableError("given up")


def _make_older(file: Path, age_s: float) -> None:
    os.utime(file, (time.time() - age_s,) * 2)
