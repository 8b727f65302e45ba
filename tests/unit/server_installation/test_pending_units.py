"""Units whose files have changed are restarted or reloaded, even if the run that changed them broke off."""

import os
from pathlib import Path

import pytest

from app.server_installation import installer
from app.server_installation.changes import MachineChange
from app.server_installation.installation_context import InstallationContext
from app.server_installation.pending_units import load_pending_units, store_pending_units
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import BROKER_UNIT, PROXY_UNIT, TARGET, ServerPaths
from app.standalone.unprivileged_accounts import StandaloneError
from tests.unit.server_installation.test_certificate_files import issue

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to the broker")


def test_a_run_after_one_that_broke_off_restarts_what_that_one_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[str] = []
    restarted: list[set[str]] = []

    def write(context: InstallationContext) -> list[MachineChange]:
        def apply() -> None:
            changed.append("settings")
            context.restart.add(TARGET)

        return [] if changed else [MachineChange("write settings", apply)]

    def break_off(_: InstallationContext) -> list[MachineChange]:
        if not restarted and len(changed) == 1:
            changed.append("broken")
            raise StandaloneError("the database is away")
        return []

    def start(context: InstallationContext) -> list[MachineChange]:
        restarted.append(set(context.restart))
        return []

    monkeypatch.setattr(installer, "check_requirements", lambda *_, **__: None)
    monkeypatch.setattr(installer, "STEPS", (("settings", write), ("database", break_off), ("start", start)))
    paths = ServerPaths(tmp_path)
    with pytest.raises(StandaloneError, match="away"):
        installer.install_server(ServerOptions(), paths, dry_run=False)
    installer.install_server(ServerOptions(), paths, dry_run=True)
    installer.install_server(ServerOptions(), paths, dry_run=False)
    installer.install_server(ServerOptions(), paths, dry_run=False)
    assert restarted == [{TARGET}, {TARGET}, set()]


def test_a_reload_that_fails_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = issue(tmp_path / "source", "a.example")
    options = ServerOptions(name="a.example", certificate=str(files.certificate), key=str(files.key))
    monkeypatch.setattr(installer, "read_server_options", lambda _: options)
    calls: list[tuple[str, ...]] = []
    broken = {PROXY_UNIT}

    def run(*words: str) -> str:
        calls.append(words)
        if words[-1] in broken:
            raise StandaloneError(f"{words[-1]} failed")
        return ""

    monkeypatch.setattr(installer, "run_program", run)
    paths = ServerPaths(tmp_path)
    paths.broker_conf.mkdir(parents=True)
    with pytest.raises(StandaloneError, match=r"caddy\.service failed"):
        installer.copy_renewed_certificate(paths)
    # The broker opens its listener of TLS by a restart.
    assert calls == [("systemctl", "reload", PROXY_UNIT), ("systemctl", "restart", BROKER_UNIT)]
    broken.clear()
    calls.clear()
    assert installer.copy_renewed_certificate(paths) == 0
    assert calls == [("systemctl", "reload", PROXY_UNIT)]
    calls.clear()
    installer.copy_renewed_certificate(paths)
    assert calls == []


def test_an_installation_and_a_renewal_at_once_leave_each_other_s_units_alone(tmp_path: Path) -> None:
    paths = ServerPaths(tmp_path)
    installing = InstallationContext(paths, ServerOptions(), 0, restart={TARGET})
    store_pending_units(installing)
    renewing = InstallationContext(paths, ServerOptions(), 0, command="certificate")
    load_pending_units(renewing)
    renewing.reload.add(PROXY_UNIT)
    store_pending_units(renewing)
    installing.restart.clear()
    store_pending_units(installing)
    store_pending_units(renewing)
    again = InstallationContext(paths, ServerOptions(), 0)
    load_pending_units(again)
    assert (again.restart, again.reload) == (set(), set())
