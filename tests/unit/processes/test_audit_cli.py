"""`vigie audit` where there is no database to be reached."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.processes.audit_cli import app
from app.standalone.command_database_connection import format_host_port


@pytest.mark.parametrize("command", ["verify", "heads", "export"])
def test_a_database_that_is_away_is_named_with_what_to_check(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIGIE_DATABASE__URL", "postgresql://vigie:hunter2@127.0.0.1:1/vigie")
    # None of it is needed.
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("VIGIE_OIDC__ISSUER", "nonsense")
    done = CliRunner().invoke(app, [command])
    assert done.exit_code == 2
    assert done.stderr == (
        "vigie audit: the database at 127.0.0.1:1 cannot be reached: Connection refused. Check that "
        "PostgreSQL runs there, and that VIGIE_DATABASE__URL (or --data-dir) names it, with its account\n"
    )


def test_without_a_stack_no_key_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"vigie audit: no stack runs on {tmp_path}/.vigie: start it, name another")
    assert "ENCRYPTION" not in done.stderr
    # Of one that runs its address is enough.
    (tmp_path / ".vigie").mkdir()
    url = "postgresql://vigie:hunter2@127.0.0.1:1/vigie"
    (tmp_path / ".vigie" / "run.json").write_text(f'{{"database": "{url}"}}')
    assert "the database at 127.0.0.1:1 cannot" in CliRunner().invoke(app, ["verify"]).stderr


def test_settings_that_make_no_sense_are_told_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIGIE_DATABASE__URL", "mysql://a")
    for command in ("verify", "heads", "export"):
        done = CliRunner().invoke(app, [command])
        assert (done.exit_code, "VIGIE_DATABASE__URL: must look like" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:secret@db/vigie", "db:5432"),
        ("postgresql://u:se%2Fcret@db:6000/vigie", "db:6000"),
        ("postgresql://db", "db:5432"),
        ("postgresql://u:secret@[::1]/vigie", "[::1]:5432"),
        ("postgresql://u:secret@[::1]:6000/vigie", "[::1]:6000"),
        ("postgresql://u:secret@one,two:6000/vigie", "one:5432, two:6000"),
        ("postgresql:///vigie?host=/run/postgresql&user=u", "/run/postgresql"),
        ("postgresql:///vigie?host=db&port=6000", "db:6000"),
        # Passwords that are not written as an address needs it.
        ("postgresql://u:se/cret@db/vigie", "the address in VIGIE_DATABASE__URL"),
        ("postgresql://u:se#cret@db/vigie", "the address in VIGIE_DATABASE__URL"),
        ("postgresql://u:se@cret@db/vigie", "db:5432"),
        ("postgresql://u:secret", "the address in VIGIE_DATABASE__URL"),
        ("postgresql://u:secret@db:x/vigie", "the address in VIGIE_DATABASE__URL"),
        ("postgresql:///vigie", "the address in VIGIE_DATABASE__URL"),
    ],
)
def test_where_it_is_is_told_without_the_password(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(variable, raising=False)
    assert format_host_port(url) == told
