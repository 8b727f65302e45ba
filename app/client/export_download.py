"""Downloads exports into files, and resumes where a download broke off."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import httpx

from app.client.api_connection import ApiConnection, Parameters
from app.client.client_errors import ClientError, UnreachableError
from app.client.profiles import Profile
from app.platform.kernel.atomic_files import replace_file_text

EXPORT_PATH: Final = "/v1/readings/export"
PARTS_PATH: Final = f"{EXPORT_PATH}/parts"
RESUMABLE: Final = frozenset({"csv", "ndjson", "geojson"})
_EXTENSIONS: Final = {"arrow": "arrows", "openaq": "openaq.csv", "eea": "eea.csv"}
_ATTEMPTS: Final = 6
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# A line of an export has at most some kilobytes: a value for each metric.
_TAIL_BYTES: Final = 262_144
_LAST_DAY: Final = timedelta(days=1)
# Without a range the export is of the last day: what broke off longer ago is of another one.
_RESUMABLE_WITHOUT_RANGE_S: Final = 3600.0


@dataclass(slots=True)
class DownloadTotals:
    """The progress of a download."""

    bytes: int = 0
    resumed: int = 0


_CHOOSE: Final = "Choose an empty folder."

type ProgressReport = Callable[[DownloadTotals], object]


class _State:
    """The request of an incomplete download, in a file beside it."""

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        self._path = path
        self._request = json.loads(json.dumps(request))

    def read(self) -> dict[str, Any] | None:
        """Return what was stored for the same request; None if there is nothing."""
        with suppress(OSError, ValueError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and found.get("request") == self._request:
                return found
        return None

    def write(self, **content: object) -> None:
        replace_file_text(self._path, json.dumps({"request": self._request, **content}))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class ExportDownload:
    """Downloads one export.

    Args:
        api: The connection.
        profile: The installation and the key, parts of the request's identity.
        parameters: The parameters of the export, without `format`.
        format_: The file format.
        report: Prints the progress.
        sleep: Waits before a retry.
    """

    def __init__(
        self,
        api: ApiConnection,
        profile: Profile,
        parameters: Parameters,
        format_: str,
        *,
        report: ProgressReport,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.totals = DownloadTotals()
        self._api = api
        self._parameters = [*parameters, ("format", format_)]
        self._format = format_
        # Of another key it may be another organisation's.
        key = hashlib.sha256(profile.key.encode()).hexdigest()
        self._request = {"url": profile.url, "key": key, "parameters": self._parameters}
        self._report = report
        self._sleep = sleep

    def write_file(self, target: Path) -> None:
        """Download into one file. It exists only when it is complete.

        Raises:
            ApiError: The API refused.
            UnreachableError: The download broke off again and again. For CSV, NDJSON and GeoJSON, the same
                command continues it.
        """
        unfinished = target.with_name(f"{target.name}.partial")
        state = _State(target.with_name(f"{target.name}.partial.json"), self._request)
        stored = state.read() or {}
        is_resumed = unfinished.exists() and self._is_of_this_range(unfinished)
        address: str | None = stored.get("address") if is_resumed else None

        def download() -> None:
            nonlocal address
            after = None if address is None else cut_and_find_row(unfinished, self._format)
            if after is not None:
                self.totals.resumed += 1
            path = EXPORT_PATH if after is None else f"{address}&after={quote(after, safe='')}"
            parameters = self._parameters if after is None else ()
            with (
                self._api.stream(path, parameters) as answer,
                unfinished.open("wb" if after is None else "ab") as file,
            ):
                if after is None and self._format in RESUMABLE:
                    address = answer.headers["content-location"]
                    state.write(address=address)
                self._copy(answer, file)

        self._repeat(download, resumes=self._format in RESUMABLE)
        unfinished.replace(target)
        state.remove()

    def write_parts(self, folder: Path) -> int:
        """Download the parts of the export into a folder, and return their number; skip complete ones.

        Raises:
            ApiError: The API refused.
            UnreachableError: The download broke off again and again. The same command continues it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state = _State(folder / "parts.json", self._request)
        stored = state.read()
        if stored is None and any(folder.iterdir()):
            raise ClientError(f"{folder} has files of another export, or of another key's. {_CHOOSE}")
        if stored is not None and not any(map(self._is_of_this_range, folder.iterdir())):
            raise ClientError(f"{folder} has an older export of the last day. {_CHOOSE}")
        if stored is None:
            parts = [{"number": each["number"], "href": each["href"]} for each in self._list_parts()]
            state.write(parts=parts)
        else:
            parts = stored["parts"]
        extension = _EXTENSIONS.get(self._format, self._format)
        for part in parts:
            target = folder / f"part-{part['number']:04}.{extension}"
            if target.exists():
                self.totals.resumed += 1
                continue
            unfinished = target.with_name(f"{target.name}.partial")
            self._repeat(partial(self._write_part, part["href"], unfinished), resumes=False)
            unfinished.replace(target)
        return len(parts)

    def _is_of_this_range(self, file: Path) -> bool:
        """Return whether a file of a former download is of the time range that is meant now."""
        if {"from", "to"} <= {name for name, _ in self._parameters}:
            return True
        return time.time() - file.stat().st_mtime < _RESUMABLE_WITHOUT_RANGE_S

    def _list_parts(self) -> Iterator[Any]:
        given = dict(self._parameters)
        now = datetime.now(UTC)
        # The pages of the list need a range that does not move.
        until = given.get("to", now.isoformat())
        since = given.get("from", (datetime.fromisoformat(until) - _LAST_DAY).isoformat())
        others = [(name, value) for name, value in self._parameters if name not in {"from", "to"}]
        for page in self._api.pages(PARTS_PATH, [*others, ("from", since), ("to", until)]):
            yield from page["data"]

    def _write_part(self, href: str, file: Path) -> None:
        with self._api.stream(href) as answer, file.open("wb") as opened:
            self._copy(answer, opened)

    def _repeat(self, download: Callable[[], None], *, resumes: bool) -> None:
        """Try until it succeeds; what resumes may break off any number of times, as long as it progresses."""
        failures = 0
        while True:
            before = self.totals.bytes
            try:
                return download()
            except UnreachableError:
                failures = 1 if resumes and self.totals.bytes > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise
            self._sleep(min(_FIRST_WAIT_S * 2 ** (failures - 1), _LONGEST_WAIT_S))

    def _copy(self, answer: httpx.Response, file: BinaryIO) -> None:
        for chunk in answer.iter_bytes():
            file.write(chunk)
            self.totals.bytes += len(chunk)
            self._report(self.totals)


def cut_and_find_row(file: Path, format_: str) -> str | None:
    """Cut an incomplete last line off a file, and return its last row as the parameter `after`.

    Returns:
        None if the file has no row, or cannot be resumed.
    """
    if format_ not in RESUMABLE:
        return None
    with file.open("r+b") as opened:
        size = opened.seek(0, 2)
        start = opened.seek(max(0, size - _TAIL_BYTES))
        tail = opened.read()
        end = tail.rfind(b"\n") + 1
        opened.truncate(start + end)
    lines = tail[:end].decode().splitlines()
    is_head = start == 0 and len(lines) == 1
    if not lines or (is_head and format_ != "ndjson"):
        return None
    return _read_row(lines[-1], format_)


def _read_row(line: str, format_: str) -> str | None:
    if format_ == "csv":
        box, _, moment, *_ = line.split(",")
        return f"{box},{moment}"
    try:
        row = json.loads(line.removeprefix(","))
    except ValueError:
        # The end of a GeoJSON file: it is complete but for its name.
        return None
    row = row["properties"] if format_ == "geojson" else row
    return f"{row['box']},{row['time']}"
