"""Implements `vigie tail`: prints the events of a stream, one a line."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from app.client.api_connection import ApiConnection, Parameters
from app.client.client_errors import ApiError, UsageError
from app.client.event_following import (
    ALERTS_PATH,
    MEASUREMENTS_PATH,
    RESET_EVENT,
    StreamEvent,
    StreamFollower,
)
from app.client.output_formats import clean_text
from app.platform.kernel.atomic_files import replace_file_text

_PATHS: Final = {"alerts": ALERTS_PATH, "measurements": MEASUREMENTS_PATH}
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class TailRequest:
    """The stream to follow, and the format of its lines.

    Attributes:
        stream: Which stream.
        parameters: Its filters.
        after: The offset to resume after.
        offset_file: Where offsets are stored; `after` has precedence at the start.
        count: The number of events after which it ends; None: never.
        output: `text`, or `json` with an event a line.
    """

    stream: Literal["alerts", "measurements"]
    parameters: Parameters
    after: str | None
    offset_file: Path | None
    count: int | None
    output: Literal["text", "json"]


def run_tail(
    api: ApiConnection,
    request: TailRequest,
    file: TextIO,
    report: Callable[[str], object],
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Print events until their count is reached, or until it is interrupted.

    Args:
        api: The connection.
        request: The stream and the format.
        file: Where events are printed.
        report: Prints a line that is no event.
        sleep: Waits before a new connection.

    Raises:
        ApiError: The API refused the key, the offset or a filter.
        UsageError: This server has no such stream, or the offset cannot be read or stored.
    """
    follower = StreamFollower(
        api,
        _PATHS[request.stream],
        request.parameters,
        after=_find_offset(request),
        report=report,
        store=partial(_store_offset, request.offset_file),
        sleep=sleep,
    )
    left = request.count
    try:
        for event in follower.events():
            if event.type == RESET_EVENT:
                detail = clean_text(str(_get_body(event).get("detail", "")))
                report(f"vigie: events were missed. {detail}")
            print(_format(event, request), file=file, flush=True)
            left = None if left is None or event.type == RESET_EVENT else left - 1
            if left == 0:
                follower.advance(event.offset)
                return
    except ApiError as error:
        if error.status == _NOT_FOUND and request.stream == "measurements" and not request.parameters:
            raise UsageError("This server has no stream of measurements.") from None
        raise
    finally:
        if follower.offset is not None and request.offset_file is None:
            report(f"To resume from here: --after {follower.offset}")


def _find_offset(request: TailRequest) -> str | None:
    """Return the offset to resume after; None: begin now (UsageError: it cannot be one)."""
    file, offset = request.offset_file, request.after
    if offset is None and file is not None and file.exists():
        try:
            offset = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"The offset in {file} cannot be read: {error}") from None
    if offset and not (offset.isascii() and offset.isprintable()):
        raise UsageError("The offset contains characters that no offset has. Begin without it.")
    return offset or None


def _store_offset(file: Path | None, offset: str) -> None:
    if file is None:
        return
    try:
        replace_file_text(file, f"{offset}\n")
    except OSError as error:
        raise UsageError(f"The offset cannot be stored in {file}: {error.strerror}.") from None


def _get_body(event: StreamEvent) -> Mapping[str, Any]:
    # An alert's is in `data`, a measurement is not in an envelope.
    body: Mapping[str, Any] = event.data.get("data", event.data)
    return body


def _format(event: StreamEvent, request: TailRequest) -> str:
    if request.output == "json":
        return json.dumps(event.data, ensure_ascii=False)
    data = _get_body(event)
    moment = event.data.get("timestamp") or data.get("time") or ""
    return clean_text(f"{moment} {event.type} {_summarise(data)}")


def _summarise(data: Mapping[str, Any]) -> str:
    if sentence := data.get("sentence"):
        return f"{data.get('severity', '')}: {sentence}"
    if values := data.get("values"):
        return f"{data.get('box')} " + " ".join(f"{name}={value}" for name, value in values.items())
    return json.dumps(data, ensure_ascii=False)
