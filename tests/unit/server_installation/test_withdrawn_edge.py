"""A server gets an edge by an option, and has none any more once the option is withdrawn."""

import os
from pathlib import Path

import pytest

from app.server_installation import broker_step, unit_step
from app.server_installation.broker_step import EDGE_CONF, find_broker_changes
from app.server_installation.installation_context import InstallationContext
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import BROKER_UNIT, TARGET, ServerPaths
from app.server_installation.unit_step import find_start_changes, find_unit_changes

EDGE = ServerOptions(edge="machine1", edge_host="10.0.0.1", log_servers="10.0.0.1:4222")
DROP_INS = [f"vigie-{name}.service.d/other-machines.conf" for name in ("ingest", "migrate")]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands of systemd, which does not run here."""
    given: list[tuple[str, ...]] = []
    for module in (broker_step, unit_step):
        monkeypatch.setattr(module, "is_unit_active", lambda _: True)
        monkeypatch.setattr(module, "is_unit_enabled", lambda _: True)
        monkeypatch.setattr(module, "run_program", lambda *words: given.append(words))
    monkeypatch.setattr(unit_step, "read_program_output", lambda *_: "no")
    return given


def apply(context: InstallationContext) -> list[str]:
    """Apply the changes of both steps; return those of a second run."""
    for find_changes in (find_broker_changes, find_unit_changes):
        for change in find_changes(context):
            change.apply()
    again = [*find_broker_changes(context), *find_unit_changes(context)]
    # Without stored settings each run has other passwords.
    return [each.title for each in again if str(context.paths.root / "etc") in each.title]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to the broker")
def test_an_edge_comes_and_goes_with_its_option(tmp_path: Path, commands: list[tuple[str, ...]]) -> None:
    paths = ServerPaths(tmp_path)
    for folder in (paths.units, paths.broker_conf, paths.broker_settings, paths.broker_state):
        folder.mkdir(parents=True)
    files = [
        *(paths.units / name for name in ("vigie-edge.service", *DROP_INS)),
        paths.broker_conf / EDGE_CONF,
    ]
    with_edge = InstallationContext(paths, EDGE, 2**32)
    assert apply(with_edge) == []
    assert all(path.exists() for path in files)
    assert "listener 1883 10.0.0.1" in files[-1].read_text()
    assert with_edge.restart == {BROKER_UNIT, TARGET}

    commands.clear()
    without = InstallationContext(paths, ServerOptions(), 2**32)
    assert apply(without) == []
    assert not any(path.exists() for path in files)
    assert ("systemctl", "disable", "--now", "vigie-edge.service") in commands
    assert ("systemctl", "daemon-reload") in commands
    assert without.restart == {BROKER_UNIT, TARGET}


@pytest.mark.parametrize(
    ("inactive", "expected"),
    [
        ([], [("restart", TARGET)]),
        # A unit that is new: those that run must get their new settings too.
        (["vigie-edge.service"], [("restart", TARGET), ("reset-failed",), ("start", TARGET)]),
        # A new server.
        (["vigie-"], [("reset-failed",), ("start", TARGET)]),
    ],
)
def test_units_that_run_are_restarted_beside_those_that_are_new(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commands: list[tuple[str, ...]],
    inactive: list[str],
    expected: list[tuple[str, ...]],
) -> None:
    paths = ServerPaths(tmp_path)
    monkeypatch.setattr(unit_step, "is_unit_active", lambda unit: not unit.startswith(tuple(inactive)))
    monkeypatch.setattr(unit_step, "find_running_release", lambda _: paths.current.resolve())
    monkeypatch.setattr(unit_step, "wait_until_ready", lambda _: None)
    context = InstallationContext(paths, EDGE, 2**32, restart={TARGET})
    for change in find_start_changes(context):
        change.apply()
    assert [words[1 : 1 + len(case)] for words, case in zip(commands, expected, strict=True)] == expected
