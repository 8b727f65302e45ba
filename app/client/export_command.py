"""Implements `vigie export`: downloads an export, and shows its progress."""

import sys
import time
from pathlib import Path
from typing import Final

from app.client.api_connection import ApiConnection, Parameters
from app.client.client_errors import UsageError
from app.client.export_download import DownloadTotals, ExportDownload
from app.client.profiles import Profile

_FORMATS: Final = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".geojson": "geojson",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
}
_EVERY_S: Final = 0.25
_MEGABYTE: Final = 1_000_000


class _Progress:
    """Shows bytes and rate in one line of a terminal."""

    def __init__(self) -> None:
        self._began = self._shown = time.monotonic()

    def __call__(self, totals: DownloadTotals) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown >= _EVERY_S:
            self._shown = now
            sys.stderr.write(f"\r\033[K{self.describe(totals)}")
            sys.stderr.flush()

    def describe(self, totals: DownloadTotals) -> str:
        """Return what was downloaded, in megabytes."""
        took = max(time.monotonic() - self._began, 0.001)
        return f"{totals.bytes / _MEGABYTE:.1f} MB, {totals.bytes / _MEGABYTE / took:.1f} MB/s"

    def end(self, line: str) -> None:
        """Write the last line."""
        sys.stderr.write(f"\r\033[K{line}\n" if sys.stderr.isatty() else f"{line}\n")


def run_export(
    api: ApiConnection,
    profile: Profile,
    parameters: Parameters,
    format_: str | None,
    target: Path,
    *,
    in_parts: bool,
) -> None:
    """Download an export.

    Args:
        api: The connection.
        profile: The installation and the key.
        parameters: The parameters of the export.
        format_: The file format; None: by the suffix.
        target: The file, or the folder of the parts.
        in_parts: Whether to download in parts.

    Raises:
        UsageError: The target cannot be written.
        ApiError: The API refused.
        UnreachableError: The download broke off again and again.
    """
    chosen = format_ or ("parquet" if in_parts else _FORMATS.get(target.suffix, "csv"))
    if not in_parts and not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}.")
    if not in_parts and target.is_dir():
        raise UsageError(f"{target} is a folder. Name a file, or use --parts.")
    progress = _Progress()
    download = ExportDownload(api, profile, parameters, chosen, report=progress)
    if in_parts:
        count = download.write_parts(target)
        progress.end(
            f"{target}: {count} parts, {download.totals.resumed} of them from before, "
            f"{progress.describe(download.totals)}"
        )
        return
    download.write_file(target)
    resumed = f", resumed {download.totals.resumed} times" if download.totals.resumed else ""
    progress.end(f"{target}: {progress.describe(download.totals)}{resumed}")
