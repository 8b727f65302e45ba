"""The chain and its files, without a database; and that the guide's own program agrees."""

import json
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from app.audit.hash_chain import GENESIS_HASH, ChainEntry, ChainHead, ChainVerifier, hash_record
from app.audit.log_export import (
    format_end_line,
    format_entry_line,
    format_head_line,
    parse_heads,
    verify_export,
)

ONE, OTHER = UUID(int=1), UUID(int=2)
GUIDE = Path(__file__).parents[3] / "docs" / "audit.md"


def chain(organisation: UUID, length: int) -> list[ChainEntry]:
    made: list[ChainEntry] = []
    previous = GENESIS_HASH
    for position in range(1, length + 1):
        record = json.dumps(
            {"organisation_id": str(organisation), "position": position, "name": "é\u2028"},
            ensure_ascii=False,
        )
        made.append(ChainEntry(organisation, position, record, previous, hash_record(previous, record)))
        previous = made[-1].hash
    return made


def head_of(entries: list[ChainEntry]) -> ChainHead:
    return ChainHead(entries[-1].organisation_id, entries[-1].position, entries[-1].hash)


def exported(*logs: list[ChainEntry]) -> list[str]:
    lines = []
    for log in logs:
        lines += [*map(format_entry_line, log), format_end_line(head_of(log), len(log))]
    return lines


def codes(lines: list[str], kept: list[ChainHead] | None = None) -> list[tuple[str, int]]:
    found = verify_export(lines, ChainVerifier(kept or (), partial=True))
    return [(finding.code, finding.position) for finding in found]


def test_what_is_whole_is_whole() -> None:
    one, other = chain(ONE, 5), chain(OTHER, 3)
    kept = [head_of(one[:2]), head_of(one), head_of(other)]
    assert codes(exported(one, other), kept) == []
    # Of some days: what came before them is not there to be looked at.
    assert codes([*map(format_entry_line, one[2:]), format_end_line(head_of(one), 3)]) == []
    assert codes([format_end_line(head_of(one), 0)]) == []


def test_what_is_missing_in_a_file_is_found() -> None:
    lines = exported(chain(ONE, 5))
    assert codes(lines[:-1]) == [("cut_short", 5)]
    assert codes([*lines[:4], lines[-1]]) == [("removed", 5)]
    assert codes([*lines[:2], *lines[3:]]) == [("removed", 4), ("removed", 5)]
    assert codes([*lines[:2], lines[1], *lines[2:]]) == [("reordered", 2), ("inserted", 5)]


def test_a_log_is_not_anothers() -> None:
    moved = [entry._replace(organisation_id=OTHER) for entry in chain(ONE, 2)]
    assert codes(exported(moved)) == [("reordered", 1), ("reordered", 2)]


def test_a_record_that_is_none_is_altered() -> None:
    for record in ("", "[]", "{}", "nonsense"):
        entry = ChainEntry(ONE, 1, record, GENESIS_HASH, hash_record(GENESIS_HASH, record))
        assert [finding.code for finding in ChainVerifier().check_entry(entry)] == ["altered"]


def test_another_hash_than_the_one_that_was_kept_is_a_rewritten_log() -> None:
    log = chain(ONE, 3)
    kept = [ChainHead(ONE, 2, bytes(32)), ChainHead(OTHER, 7, bytes(32))]
    assert codes(exported(log), kept) == [("rewritten", 2), ("removed", 7)]


def test_heads_are_read_from_the_programs_log_too() -> None:
    head = head_of(chain(ONE, 3))
    logged = {"event": "audit_head", "level": "info", **json.loads(format_head_line(head))}
    lines = ["", "text", '{"event": "other"}', "[]", json.dumps(logged), format_head_line(head)]
    assert parse_heads(lines) == [head, head]


@pytest.mark.parametrize(
    "line", ["", "x", "[]", "{}", '{"organisation_id": "1"}', format_head_line(ChainHead(ONE, 1, b""))]
)
def test_what_is_no_export_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 1 is not"):
        codes([line])


def test_the_guides_program_finds_the_same(tmp_path: Path) -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    script = tmp_path / "verify.py"
    script.write_text(program, encoding="utf-8")

    def run(lines: list[str]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "log.ndjson"
        file.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, str(script), str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (ours)

    one, other = chain(ONE, 4), chain(OTHER, 2)
    whole = run(exported(one, other))
    assert (whole.returncode, whole.stdout.split()) == (
        0,
        [str(ONE), "4", one[-1].hash.hex(), str(OTHER), "2", other[-1].hash.hex()],
    ), whole.stderr
    altered = one[1]._replace(record=one[1].record.replace("é", "e"))
    for wrong in (exported([one[0], altered, *one[2:]]), exported([one[0], *one[2:]]), exported(one)[:-1]):
        assert run(wrong).returncode == 1
