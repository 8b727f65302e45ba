"""Whatever the superuser does to the log with triggers off is found; what cannot be found is said."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from app.audit.hash_chain import GENESIS_HASH, ChainFinding, ChainHead, ChainVerifier, hash_record
from app.audit.verification import read_heads, verify_log
from app.processes.audit_cli import app as commands
from tests.conftest import Tenant

type Tamper = Callable[[asyncpg.Connection, UUID], Awaitable[object]]


@pytest.fixture
async def log(tenant: Tenant, other_tenant: Tenant, site_id: str) -> UUID:
    """An organisation with ten entries, beside others."""
    for number in range(7):
        await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": f"name {number}"})
    body = {"organisation_id": other_tenant.id, "name": "another", "scopes": ["*"]}
    (await other_tenant.client.post("/v1/api-keys", json=body)).raise_for_status()
    return UUID(tenant.id)


async def findings(connection: asyncpg.Connection, kept: list[ChainHead] | None = None) -> list[ChainFinding]:
    found = verify_log(connection, ChainVerifier(kept or ()), None, lambda _: None)
    return [finding async for finding in found]


async def move(root: asyncpg.Connection, log: UUID, by: int, after: int) -> None:
    # Not in one step: positions would meet.
    for sign in (-1, 1):
        await root.execute(
            "UPDATE audit_log SET position = CASE WHEN $3 < 0 THEN -(position + $4) ELSE -position END"
            " WHERE organisation_id = $1 AND CASE WHEN $3 < 0 THEN position > $2 ELSE position < 0 END",
            *(log, after, sign, by),
        )


async def alter_record(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute(
        "UPDATE audit_log SET record = replace(record, 'name 1', 'name X')"
        " WHERE organisation_id = $1 AND position = 5",
        log,
    )


async def alter_consistently(root: asyncpg.Connection, log: UUID) -> None:
    await alter_record(root, log)
    await root.execute(
        "UPDATE audit_log SET hash = sha256(previous || convert_to(record, 'UTF8'))"
        " WHERE organisation_id = $1 AND position = 5",
        log,
    )


async def alter_copies(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute(
        "UPDATE audit_log SET actor_id = 'x', subject_ids = '{}', action = 'site.read', at = now()"
        " WHERE organisation_id = $1 AND position = 5",
        log,
    )


async def remove(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1 AND position IN (5, 6)", log)


async def remove_and_close_the_gap(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1 AND position = 5", log)
    await move(root, log, -1, 5)


async def remove_the_first(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1 AND position < 3", log)


async def remove_the_tail(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1 AND position > 7", log)


async def remove_all(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1", log)


async def remove_the_head(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute("DELETE FROM audit_heads WHERE organisation_id = $1", log)


async def reorder(root: asyncpg.Connection, log: UUID) -> None:
    for now, then in ((5, -6), (6, 5), (-6, 6)):
        await root.execute(
            "UPDATE audit_log SET position = $3 WHERE organisation_id = $1 AND position = $2", log, now, then
        )


async def insert(root: asyncpg.Connection, log: UUID) -> None:
    await move(root, log, 1, 5)
    await forge(root, log, 6)


async def insert_at_the_end(root: asyncpg.Connection, log: UUID) -> None:
    await forge(root, log, 11)


async def forge(root: asyncpg.Connection, log: UUID, position: int) -> None:
    """An entry that fits the one before it in every way."""
    row = await root.fetchrow(
        "SELECT * FROM audit_log WHERE organisation_id = $1 AND position = $2", log, position - 1
    )
    assert row is not None
    record = json.dumps({**json.loads(row["record"]), "position": position})
    values = {**row, "position": position, "record": record, "previous": row["hash"]}
    values["hash"] = hash_record(row["hash"], record)
    places = ", ".join(f"${place + 1}" for place in range(len(values)))
    await root.execute(
        f"INSERT INTO audit_log ({', '.join(values)}) VALUES ({places})",  # noqa: S608 (names of ours)
        *values.values(),
    )


async def leave_unlinked(root: asyncpg.Connection, log: UUID) -> None:
    await root.execute(
        "INSERT INTO audit_pending (organisation_id, record, action, subject_kind, subject_ids)"
        " VALUES ($1, '{}', 'site.updated', 'site', '{}')",
        log,
    )


CASES: dict[str, tuple[Tamper, set[tuple[str, int]]]] = {
    "alter": (alter_record, {("altered", 5)}),
    "alter with its hash": (alter_consistently, {("not_linked", 6)}),
    "alter columns": (alter_copies, {("altered", 5)}),
    "remove": (remove, {("removed", 7)}),
    "remove and close the gap": (
        remove_and_close_the_gap,
        {("not_linked", 5), *(("reordered", place) for place in range(5, 10)), ("removed", 10)},
    ),
    "remove the first": (remove_the_first, {("removed", 3)}),
    "remove the tail": (remove_the_tail, {("removed", 8)}),
    "remove all": (remove_all, {("removed", 1)}),
    "remove the head": (remove_the_head, {("head_missing", 10)}),
    "reorder": (
        reorder,
        {("reordered", 5), ("reordered", 6), *(("not_linked", place) for place in (5, 6, 7))},
    ),
    "insert": (
        insert,
        {("not_linked", 7), *(("reordered", place) for place in range(7, 12)), ("inserted", 11)},
    ),
    "insert at the end": (insert_at_the_end, {("inserted", 11)}),
    "leave unlinked": (leave_unlinked, {("unlinked", 0)}),
}


async def test_what_was_done_to_it_is_found(log: UUID, root: asyncpg.Connection) -> None:
    for what, (tamper, expected) in CASES.items():
        # Rolled back: the next one finds the log whole.
        transaction = root.transaction()
        await transaction.start()
        assert await findings(root) == [], what
        await tamper(root, log)
        found = await findings(root)
        assert {(finding.code, finding.position) for finding in found} == expected, what
        assert {finding.organisation_id for finding in found} == {log}, what
        await transaction.rollback()


async def rewrite(root: asyncpg.Connection, log: UUID) -> None:
    """Another past, with hashes that fit, and a head that does too."""
    previous = GENESIS_HASH
    for row in await root.fetch("SELECT * FROM audit_log WHERE organisation_id = $1 ORDER BY position", log):
        record = row["record"].replace("name 1", "name X")
        made = hashlib.sha256(previous + record.encode()).digest()
        await root.execute(
            "UPDATE audit_log SET record = $3, previous = $4, hash = $5"
            " WHERE organisation_id = $1 AND position = $2",
            *(log, row["position"], record, previous, made),
        )
        previous = made
    await root.execute("UPDATE audit_heads SET hash = $2 WHERE organisation_id = $1", log, previous)


async def shorten(root: asyncpg.Connection, log: UUID) -> None:
    """The tail goes, and the head goes back."""
    await remove_the_tail(root, log)
    await root.execute(
        "UPDATE audit_heads SET position = 7, hash = (SELECT hash FROM audit_log"
        " WHERE organisation_id = $1 AND position = 7) WHERE organisation_id = $1",
        log,
    )


async def test_another_past_that_fits_together_is_found_by_heads_that_were_kept_elsewhere_alone(
    log: UUID, root: asyncpg.Connection
) -> None:
    kept = await read_heads(root, None)
    for tamper, code in ((rewrite, "rewritten"), (shorten, "removed")):
        transaction = root.transaction()
        await transaction.start()
        assert await findings(root, kept) == []
        await tamper(root, log)
        assert await findings(root) == []
        found = await findings(root, kept)
        assert [(each.organisation_id, each.position, each.code) for each in found] == [(log, 10, code)]
        await transaction.rollback()


async def run(*arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, commands, arguments)
    return result.exit_code, result.output


async def test_the_command_tells_what_is_wrong_where(
    log: UUID, root: asyncpg.Connection, tmp_path: Path
) -> None:
    heads, export = tmp_path / "heads", tmp_path / "log.ndjson"
    assert (await run("heads", "--out", str(heads)))[0] == 0
    assert (await run("export", "--out", str(export)))[0] == 0
    code, output = await run("verify", "--heads", str(heads))
    assert (code, "nothing is wrong" in output) == (0, True), output
    assert (await run("verify", "--export", str(export), "--heads", str(heads)))[0] == 0
    await rewrite(root, log)
    code, output = await run("verify")
    assert (code, "--heads" in output) == (0, True), output
    code, output = await run("verify", "--heads", str(heads), "--organisation", str(log))
    assert (code, f"rewritten: organisation {log}, position 10" in output) == (1, True), output
    lines = export.read_text().splitlines(keepends=True)
    export.write_text("".join(lines[:-1]))
    code, output = await run("verify", "--export", str(export))
    assert (code, "cut_short" in output) == (1, True), output
    assert (await run("verify", "--export", str(heads)))[0] == 2
    assert (await run("verify", "--heads", str(tmp_path / "none")))[0] == 2


async def test_what_is_not_there_is_not_called_right(
    log: UUID, root: asyncpg.Connection, tmp_path: Path
) -> None:
    export, nobody = tmp_path / "log.ndjson", str(uuid4())
    assert (await run("export", "--out", str(export)))[0] == 0
    code, output = await run("verify", "--organisation", nobody)
    assert (code, f"no log of organisation {nobody}" in output) == (2, True), output
    assert (await run("verify", "--export", str(export), "--organisation", nobody))[0] == 2
    export.write_text("")
    assert (await run("verify", "--export", str(export)))[0] == 2
    # Nor is a log that was erased whole, with its head.
    await root.execute("DELETE FROM audit_log WHERE organisation_id = $1", log)
    await root.execute("DELETE FROM audit_heads WHERE organisation_id = $1", log)
    assert (await run("verify", "--organisation", str(log)))[0] == 2


@pytest.mark.usefixtures("tenant")
async def test_it_is_a_command_of_vigie() -> None:
    command = [sys.executable, "-m", "app", "audit", "verify"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing is wrong" in done.stdout) == (0, True), done.stdout + done.stderr
