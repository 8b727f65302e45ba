"""Writes and reads the audit log as NDJSON, which can be verified without Vigie. Pure.

A line for each entry, in the order of the chain:

    {"organisation_id": …, "position": …, "record": "{…}", "previous": "hex", "hash": "hex"}

and one that ends an organisation's: how many entries stand before it, and where its log was at that time. A
file without that line was cut short.

    {"organisation_id": …, "entries": …, "head": {"position": …, "hash": "hex"}}

Pure but for the file that is read.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from uuid import UUID

from app.audit.hash_chain import ChainEntry, ChainFinding, ChainHead, ChainVerifier

MEDIA_TYPE: Final = "application/x-ndjson"


class _End(NamedTuple):
    entries: int
    head: ChainHead


def format_entry_line(entry: ChainEntry) -> str:
    """An entry's line, with its end."""
    told = {
        "organisation_id": str(entry.organisation_id),
        "position": entry.position,
        "record": entry.record,
        "previous": entry.previous.hex(),
        "hash": entry.hash.hex(),
    }
    # In ASCII: to some programs U+2028 and others end a line.
    return json.dumps(told) + "\n"


def format_end_line(head: ChainHead, entries: int) -> str:
    """The line that ends an organisation's entries."""
    where = {"position": head.position, "hash": head.hash.hex()}
    told = {"organisation_id": str(head.organisation_id), "entries": entries, "head": where}
    return json.dumps(told) + "\n"


def format_head_line(head: ChainHead) -> str:
    """A head as one line: to be kept somewhere else."""
    told = {
        "organisation_id": str(head.organisation_id),
        "position": head.position,
        "hash": head.hash.hex(),
    }
    return json.dumps(told) + "\n"


def parse_heads(lines: Iterable[str]) -> list[ChainHead]:
    """Heads that were kept, of any time. Other lines are passed over: a program's log will do as it is."""
    found = []
    for line in lines:
        try:
            told = json.loads(line)
            head = ChainHead(
                UUID(told["organisation_id"]), int(told["position"]), bytes.fromhex(told["hash"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if "record" not in told:
            found.append(head)
    return found


def _read(line: str) -> ChainEntry | _End:
    """What a line says (ValueError, KeyError or TypeError for one that is not an export's)."""
    told = json.loads(line)
    organisation = UUID(told["organisation_id"])
    if "head" in told:
        where = told["head"]
        head = ChainHead(organisation, int(where["position"]), bytes.fromhex(where["hash"]))
        return _End(int(told["entries"]), head)
    previous, digest = bytes.fromhex(told["previous"]), bytes.fromhex(told["hash"])
    return ChainEntry(organisation, int(told["position"]), str(told["record"]), previous, digest)


def verify_export(
    lines: Iterable[str], verifier: ChainVerifier, organisation: UUID | None = None
) -> Iterator[ChainFinding]:
    """Verify an export.

    Args:
        lines: the file's.
        verifier: one for parts of logs; it tells how many entries there were.
        organisation: this one's alone; None: all that are in the file.

    Raises:
        ValueError: the file is not an export.
    """
    # Entries of organisations whose last line did not come yet.
    open_: dict[UUID, int] = {}
    heads: list[ChainHead] = []
    for number, line in enumerate(lines, 1):
        try:
            told = _read(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number} is not one of an export of the audit log") from error
        whose = told.organisation_id if isinstance(told, ChainEntry) else told.head.organisation_id
        if organisation not in {None, whose}:
            continue
        if isinstance(told, ChainEntry):
            open_[whose] = open_.get(whose, 0) + 1
            yield from verifier.look(told)
            continue
        seen = open_.pop(whose, 0)
        if seen != told.entries:
            detail = f"the export had {told.entries} entries, and has {seen}"
            code = "removed" if seen < told.entries else "inserted"
            yield ChainFinding(whose, told.head.position, code, detail)
        heads.append(told.head)
    reached = {head.organisation_id: head for head in verifier.heads}
    for head in heads:
        last = reached.get(head.organisation_id)
        if last is not None and last.position == head.position and last.hash != head.hash:
            detail = "the last line has another hash than the last entry"
            yield ChainFinding(head.organisation_id, head.position, "head_differs", detail)
    for whose in open_:
        yield ChainFinding(
            whose, reached[whose].position, "cut_short", "the export ends without its last line"
        )
    yield from verifier.end(None)
