import subprocess
import sys
from pathlib import Path

import pytest

from app.client.cli import CLIENT_COMMANDS
from app.processes.cli import app

_PROGRAM = """
import sys
from app.processes.cli import main
try:
    main()
except SystemExit as end:
    loaded = {"sqlalchemy", "fastapi", "asyncpg", "pydantic_settings", "mcp"} & set(sys.modules)
    print(end.code, sorted(loaded))
"""


def test_a_command_needs_no_settings_and_loads_nothing_of_the_server(tmp_path: Path) -> None:
    environment = {"VIGIE_DATABASE__POOL_SIZE": "nonsense", "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(  # noqa: S603 (no shell)
        (sys.executable, "-c", _PROGRAM, "get", "sites"),
        env={**environment, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 []\n"
    assert "There is no profile 'default'" in done.stderr


def test_every_command_of_the_client_is_listed() -> None:
    found = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    groups = {each.name for each in app.registered_groups}
    assert found | groups >= CLIENT_COMMANDS


@pytest.mark.parametrize(
    "words",
    [
        ("rules", "apply"),
        ("export",),
        ("mcp", "--http", "--host", "192.0.2.1", "--api", "http://a"),
        ("mcp", "--http", "--host", "vigie.example", "--api", "http://a"),
    ],
)
def test_what_is_missing_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415

    done = CliRunner().invoke(app, words, env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert done.exit_code == 2
    assert done.stderr
