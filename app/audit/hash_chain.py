"""The chain: how an entry's hash is made, and what is wrong with entries that do not fit together.

Pure: entries come from a database or from a file alike, in the order of their positions, organisation by
organisation; nothing is kept but where each organisation's chain has come to.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

GENESIS_HASH: Final = bytes(32)
"""`previous` of an organisation's first entry."""


class RecordColumns(NamedTuple):
    """What stands beside a record for queries."""

    at: datetime
    actor_id: str | None
    action: str
    subject_kind: str
    subject_ids: Sequence[str]


class ChainEntry(NamedTuple):
    """An entry as it is kept.

    Attributes:
        organisation_id: whose log it is in.
        position: from 1.
        record: the JSON text that was hashed.
        previous: the hash of the entry before it.
        hash: its own.
        copies: the columns beside it; None in an export.
    """

    organisation_id: UUID
    position: int
    record: str
    previous: bytes
    hash: bytes
    copies: RecordColumns | None = None


class ChainHead(NamedTuple):
    """Where a chain was at some time: its last entry's position and hash."""

    organisation_id: UUID
    position: int
    hash: bytes


class ChainFinding(NamedTuple):
    """What is wrong, and where.

    Attributes:
        organisation_id: whose log.
        position: of the entry at which it shows.
        code: stable, for programs.
        detail: for people.
    """

    organisation_id: UUID
    position: int
    code: str
    detail: str


def hash_record(previous: bytes, record: str) -> bytes:
    """The hash of a record that comes after an entry with that hash."""
    return hashlib.sha256(previous + record.encode()).digest()


@dataclass(slots=True)
class _Chain:
    """How far one organisation's entries were looked at."""

    position: int = 0
    hash: bytes = GENESIS_HASH
    entries: int = 0
    kept: list[ChainHead] = field(default_factory=list)


class ChainVerifier:
    """Looks at entries one by one. Feed them all, then ask for what only the end shows.

    Args:
        kept: heads that were kept elsewhere, of any time: the entries at their positions must have their
            hashes, or the log was rewritten.
        partial: entries may begin anywhere, as in an export of some days; what was before them is trusted.
    """

    def __init__(self, kept: Iterable[ChainHead] = (), *, partial: bool = False) -> None:
        self._partial = partial
        self._kept: dict[UUID, dict[int, list[bytes]]] = {}
        for head in kept:
            self._kept.setdefault(head.organisation_id, {}).setdefault(head.position, []).append(head.hash)
        self._chains: dict[UUID, _Chain] = {}
        self.entries = 0

    @property
    def heads(self) -> list[ChainHead]:
        """The last entry of each organisation so far."""
        return [ChainHead(each, chain.position, chain.hash) for each, chain in self._chains.items()]

    def look(self, entry: ChainEntry) -> Iterator[ChainFinding]:
        """What is wrong with the next entry."""
        self.entries += 1
        organisation, position = entry.organisation_id, entry.position
        chain = self._chains.get(organisation)
        if chain is None:
            chain = _Chain(position - 1, entry.previous) if self._partial else _Chain()
            self._chains[organisation] = chain
        for code, detail in _faults(entry, chain.position, chain.hash):
            yield ChainFinding(organisation, position, code, detail)
        kept = self._kept.get(organisation, {}).pop(position, [])
        if any(known != entry.hash for known in kept):
            detail = "another hash was kept elsewhere: the log was rewritten, here or before"
            yield ChainFinding(organisation, position, "rewritten", detail)
        chain.position, chain.hash = position, entry.hash

    def end(self, heads: Iterable[ChainHead] | None) -> Iterator[ChainFinding]:
        """What the end shows, once all entries were looked at.

        Args:
            heads: where the chains are by the database's own word; None where that is not known.
        """
        known = None if heads is None else {head.organisation_id: head for head in heads}
        for organisation, chain in self._chains.items():
            head = None if known is None else known.pop(organisation, None)
            if known is not None and head is None:
                yield ChainFinding(
                    organisation, chain.position, "head_missing", "the chain's head was removed"
                )
            if head is not None:
                yield from _end(chain, head)
        for head in () if known is None else known.values():
            yield from _end(_Chain(), head)
        for organisation, kept in self._kept.items():
            reached = self._chains.get(organisation, _Chain()).position
            for position in sorted(kept):
                detail = (
                    f"a head was kept elsewhere that is not found any more: the log ends at {reached}"
                    if position > reached
                    else "a head was kept elsewhere of an entry that is not found any more"
                )
                yield ChainFinding(organisation, position, "removed", detail)


def _end(chain: _Chain, head: ChainHead) -> Iterator[ChainFinding]:
    if head.position > chain.position:
        detail = f"the last {head.position - chain.position} entries were removed, up to {head.position}"
        yield ChainFinding(head.organisation_id, chain.position + 1, "removed", detail)
    elif head.position < chain.position:
        detail = f"entries stand after the head, which is at {head.position}: they were inserted"
        yield ChainFinding(head.organisation_id, head.position + 1, "inserted", detail)
    elif head.hash != chain.hash:
        yield ChainFinding(
            head.organisation_id, head.position, "head_differs", "the head has another hash than the entry"
        )


def _faults(entry: ChainEntry, last: int, last_hash: bytes) -> Iterator[tuple[str, str]]:
    """Codes and details of what is wrong with an entry that comes after another one."""
    position = entry.position
    if position > last + 1:
        gone = (
            f"entry {last + 1} was" if position == last + 2 else f"entries {last + 1} to {position - 1} were"
        )
        yield "removed", f"{gone} removed before this one"
    elif position <= last:
        yield "reordered", f"it comes after entry {last}"
    elif entry.previous != last_hash:
        yield (
            "not_linked",
            "it does not follow from the entry before: one of the two was altered, inserted or moved",
        )
    if hash_record(entry.previous, entry.record) != entry.hash:
        yield "altered", "its hash does not fit its record"
    try:
        record = json.loads(entry.record)
        named = (record["organisation_id"], record["position"])
    except (ValueError, KeyError, TypeError):
        yield "altered", "its record is not one that Vigie writes"
        return
    if named != (str(entry.organisation_id), position):
        yield "reordered", f"its record says that it is entry {named[1]} of {named[0]}"
    differing = [] if entry.copies is None else _differing(record, entry.copies)
    if differing:
        yield "altered", f"columns differ from its record: {', '.join(differing)}"


def _differing(record: Mapping[str, Any], copies: RecordColumns) -> list[str]:
    try:
        subject = record["subject"]
        single = [] if subject.get("id") is None else [subject["id"]]
        meant = RecordColumns(
            datetime.fromisoformat(record["at"]),
            record["actor"]["id"],
            record["action"],
            subject["kind"],
            subject.get("ids", single),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["all"]
    alike = copies._replace(subject_ids=list(copies.subject_ids))
    return [
        name for name, one, other in zip(RecordColumns._fields, meant, alike, strict=True) if one != other
    ]
