"""`vigie invite` without a stack that could invite; `tests/integration/standalone` has one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.processes.cli import app
from app.standalone.free_ports import find_free_port


def invite(folder: Path) -> str:
    result = CliRunner().invoke(app, ["invite", "ada@example.com", "--data-dir", str(folder)])
    assert result.exit_code == 1
    return result.stderr


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_stack_that_does_not_run_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    said = invite(tmp_path)
    assert f"{tmp_path}/run.json cannot be read: start the stack with `vigie up`" in said


def test_a_stack_without_the_api_cannot_invite(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"api": None, "admin_key": "vg_x"}))
    assert "without the process `api`" in invite(tmp_path)


def test_an_api_that_does_not_answer_is_named(tmp_path: Path) -> None:
    api = f"http://127.0.0.1:{find_free_port()}"
    (tmp_path / "run.json").write_text(json.dumps({"api": api, "admin_key": "vg_x"}))
    assert f"the API at {api}/v1/invitations does not answer" in invite(tmp_path)
