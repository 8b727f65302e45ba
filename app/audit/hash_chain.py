"""Computes the hash of an audit entry, and detects tampering in a chain of entries.

Pure: entries come from a database or a file, organisation by organisation, in the order of their positions.
Memory is constant: only the last position and hash of each organisation are stored.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

GENESIS_HASH: Final = bytes(32)
"""`previous` of an organisation's first entry."""


class RecordColumns(NamedTuple):
    """Copies of a record's fields in columns of their own, for queries."""

    at: datetime
    actor_id: str | None
    action: str
    subject_kind: str
    subject_ids: Sequence[str]


class ChainEntry(NamedTuple):
    """A stored audit entry.

    Attributes:
        organisation_id: the organisation of its log.
        position: its number in the log, from 1.
        record: the JSON text that was hashed.
        previous: the hash of the entry before it.
        hash: the hash of this entry.
        copies: copies of the record's fields; None in an export.
    """

    organisation_id: UUID
    position: int
    record: str
    previous: bytes
    hash: bytes
    copies: RecordColumns | None = None


class ChainHead(NamedTuple):
    """The position and hash of a chain's last entry at some time."""

    organisation_id: UUID
    position: int
    hash: bytes


class ChainFinding(NamedTuple):
    """A sign of tampering.

    Attributes:
        organisation_id: the organisation of the log.
        position: the position of the entry that shows it.
        code: a stable code, for programs.
        detail: an explanation, for people.
    """

    organisation_id: UUID
    position: int
    code: str
    detail: str


def hash_record(previous: bytes, record: str) -> bytes:
    """Compute the hash of a record that follows an entry with the hash `previous`."""
    return hashlib.sha256(previous + record.encode()).digest()


@dataclass(slots=True)
class _Chain:
    """The last verified entry of one organisation."""

    position: int = 0
    hash: bytes = GENESIS_HASH


class ChainVerifier:
    """Verifies entries one by one: pass each to `check_entry`, then call `check_end`.

    Args:
        saved_heads: heads that were saved outside the database, of any time. An entry at such a position
            must have the same hash, or the log was rewritten.
        partial: entries may begin at any position, as in an export of some days. Earlier ones are trusted.
    """

    def __init__(self, saved_heads: Iterable[ChainHead] = (), *, partial: bool = False) -> None:
        self._partial = partial
        self._saved: dict[UUID, dict[int, list[bytes]]] = {}
        for head in saved_heads:
            self._saved.setdefault(head.organisation_id, {}).setdefault(head.position, []).append(head.hash)
        self._chains: dict[UUID, _Chain] = {}
        self.entries = 0

    @property
    def heads(self) -> list[ChainHead]:
        """The last verified entry of each organisation."""
        return [ChainHead(each, chain.position, chain.hash) for each, chain in self._chains.items()]

    def check_entry(self, entry: ChainEntry) -> Iterator[ChainFinding]:
        """Verify the next entry."""
        self.entries += 1
        organisation, position = entry.organisation_id, entry.position
        chain = self._chains.get(organisation)
        if chain is None:
            chain = _Chain(position - 1, entry.previous) if self._partial else _Chain()
            self._chains[organisation] = chain
        for code, detail in _faults(entry, chain.position, chain.hash):
            yield ChainFinding(organisation, position, code, detail)
        saved = self._saved.get(organisation, {}).pop(position, [])
        if any(known != entry.hash for known in saved):
            detail = "a saved head has another hash: the log was rewritten at this entry or before it"
            yield ChainFinding(organisation, position, "rewritten", detail)
        chain.position, chain.hash = position, entry.hash

    def check_end(self, heads: Iterable[ChainHead] | None) -> Iterator[ChainFinding]:
        """Verify the ends of the chains, after all entries.

        Args:
            heads: the heads that the database stores; None if they are not known.
        """
        known = None if heads is None else {head.organisation_id: head for head in heads}
        for organisation, chain in self._chains.items():
            head = None if known is None else known.pop(organisation, None)
            if known is not None and head is None:
                yield ChainFinding(
                    organisation, chain.position, "head_missing", "the chain's head was removed"
                )
            if head is not None:
                yield from _compare_head(chain, head)
        for head in () if known is None else known.values():
            yield from _compare_head(_Chain(), head)
        for organisation, saved in self._saved.items():
            reached = self._chains.get(organisation, _Chain()).position
            for position in sorted(saved):
                detail = (
                    f"a saved head is missing: the log ends at {reached}"
                    if position > reached
                    else "the entry of a saved head is missing"
                )
                yield ChainFinding(organisation, position, "removed", detail)


def _compare_head(chain: _Chain, head: ChainHead) -> Iterator[ChainFinding]:
    if head.position > chain.position:
        detail = f"the last {head.position - chain.position} entries were removed, up to {head.position}"
        yield ChainFinding(head.organisation_id, chain.position + 1, "removed", detail)
    elif head.position < chain.position:
        detail = f"entries after the head at {head.position} were inserted"
        yield ChainFinding(head.organisation_id, head.position + 1, "inserted", detail)
    elif head.hash != chain.hash:
        yield ChainFinding(
            head.organisation_id,
            head.position,
            "head_differs",
            "the hash of the head differs from the entry's",
        )


def _faults(entry: ChainEntry, last: int, last_hash: bytes) -> Iterator[tuple[str, str]]:
    """Compare an entry with the one before it; yields codes and details."""
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
            "its `previous` is not the hash of the entry before: one of them was altered, inserted or moved",
        )
    if hash_record(entry.previous, entry.record) != entry.hash:
        yield "altered", "its hash does not match its record"
    try:
        record = json.loads(entry.record)
        named = (record["organisation_id"], record["position"])
    except (ValueError, KeyError, TypeError):
        yield "altered", "its record does not have the form that Vigie writes"
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
        expected = RecordColumns(
            datetime.fromisoformat(record["at"]),
            record["actor"]["id"],
            record["action"],
            subject["kind"],
            subject.get("ids", single),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["all"]
    actual = copies._replace(subject_ids=list(copies.subject_ids))
    return [
        name for name, one, other in zip(RecordColumns._fields, expected, actual, strict=True) if one != other
    ]
