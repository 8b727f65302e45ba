"""Writes and reads exports of the audit log as NDJSON, which can be verified without Vigie. Pure.

An export has a line for each entry, in the order of the chain:

    {"organisation_id": …, "position": …, "record": "{…}", "previous": "hex", "hash": "hex"}

An end line follows the entries of an organisation, with their number and the head of its log at that time. A
file without it is incomplete.

    {"organisation_id": …, "entries": …, "head": {"position": …, "hash": "hex"}}
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from uuid import UUID

from app.audit.hash_chain import ChainEntry, ChainFinding, ChainHead, ChainVerifier

MEDIA_TYPE: Final = "application/x-ndjson"


class _EndLine(NamedTuple):
    entries: int
    head: ChainHead


def format_entry_line(entry: ChainEntry) -> str:
    """Format an entry as a line, with a line break."""
    values = {
        "organisation_id": str(entry.organisation_id),
        "position": entry.position,
        "record": entry.record,
        "previous": entry.previous.hex(),
        "hash": entry.hash.hex(),
    }
    # In ASCII: some programs break lines at U+2028 and similar characters.
    return json.dumps(values) + "\n"


def format_end_line(head: ChainHead, entries: int) -> str:
    """Format the line that ends the entries of an organisation."""
    position = {"position": head.position, "hash": head.hash.hex()}
    return (
        json.dumps({"organisation_id": str(head.organisation_id), "entries": entries, "head": position})
        + "\n"
    )


def format_head_line(head: ChainHead) -> str:
    """Format a head as one line, to be saved outside the database."""
    values = {
        "organisation_id": str(head.organisation_id),
        "position": head.position,
        "hash": head.hash.hex(),
    }
    return json.dumps(values) + "\n"


def parse_heads(lines: Iterable[str]) -> list[ChainHead]:
    """Parse saved heads of any time. Other lines are skipped: the program's log can be passed as it is."""
    found = []
    for line in lines:
        try:
            values = json.loads(line)
            head = ChainHead(
                UUID(values["organisation_id"]), int(values["position"]), bytes.fromhex(values["hash"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if "record" not in values:
            found.append(head)
    return found


def _parse_line(line: str) -> ChainEntry | _EndLine:
    """Parse a line (ValueError, KeyError or TypeError if it is not a line of an export)."""
    values = json.loads(line)
    organisation = UUID(values["organisation_id"])
    if "head" in values:
        position = values["head"]
        head = ChainHead(organisation, int(position["position"]), bytes.fromhex(position["hash"]))
        return _EndLine(int(values["entries"]), head)
    previous, digest = bytes.fromhex(values["previous"]), bytes.fromhex(values["hash"])
    return ChainEntry(organisation, int(values["position"]), str(values["record"]), previous, digest)


def verify_export(
    lines: Iterable[str], verifier: ChainVerifier, organisation: UUID | None = None
) -> Iterator[ChainFinding]:
    """Verify an export.

    Args:
        lines: the lines of the file.
        verifier: a new verifier for partial logs; afterwards it has the number of entries.
        organisation: verifies the log of this organisation only; None: all logs of the file.

    Raises:
        ValueError: the file is not an export.
    """
    # Number of entries of each organisation without an end line so far.
    open_: dict[UUID, int] = {}
    heads: list[ChainHead] = []
    for number, line in enumerate(lines, 1):
        try:
            parsed = _parse_line(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number} is not a line of an audit log export") from error
        owner = parsed.organisation_id if isinstance(parsed, ChainEntry) else parsed.head.organisation_id
        if organisation not in {None, owner}:
            continue
        if isinstance(parsed, ChainEntry):
            open_[owner] = open_.get(owner, 0) + 1
            yield from verifier.check_entry(parsed)
            continue
        seen = open_.pop(owner, 0)
        if seen != parsed.entries:
            detail = f"the export was written with {parsed.entries} entries and has {seen} now"
            code = "removed" if seen < parsed.entries else "inserted"
            yield ChainFinding(owner, parsed.head.position, code, detail)
        heads.append(parsed.head)
    reached = {head.organisation_id: head for head in verifier.heads}
    for head in heads:
        last = reached.get(head.organisation_id)
        if last is not None and last.position == head.position and last.hash != head.hash:
            detail = "the hash of the end line differs from that of the last entry"
            yield ChainFinding(head.organisation_id, head.position, "head_differs", detail)
    for owner in open_:
        yield ChainFinding(
            owner, reached[owner].position, "cut_short", "the end line of the export is missing"
        )
    yield from verifier.check_end(None)
