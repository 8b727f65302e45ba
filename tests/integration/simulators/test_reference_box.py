"""`vigie simulate box` on a real stack: each of its samples is stored, or given up with a code."""

import json
from pathlib import Path

import asyncpg
import pytest

from simulators.box_command import BoxOptions, run_box
from simulators.target_stack import TargetStack
from tests.scenarios.processes import role


async def test_each_sample_is_stored_or_given_up(
    target: TargetStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = BoxOptions("reference-box", 0.01, 40, 10, 0.3, 60.0, "Synthetic city")
    async with role("ingest", tmp_path):
        assert await run_box(target, job) == 0
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    stored = await connection.fetchval("SELECT count(*) FROM samples")
    await connection.close()
    dead_letters = target.folder / "boxes" / "reference-box" / "dead-letters.jsonl"
    lines = dead_letters.read_text().splitlines() if dead_letters.exists() else []
    assert {json.loads(line)["code"] for line in lines} <= {"invalid_json"}
    assert stored + len(lines) == 40
    *acknowledged, last = capsys.readouterr().out.splitlines()
    assert acknowledged[0].startswith("acknowledged: ")
    assert last.startswith(f"waiting: 0, given up: {len(lines)}")
