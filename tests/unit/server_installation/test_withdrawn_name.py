"""A server whose public name was withdrawn is no longer on the internet."""

import os
from pathlib import Path

import pytest

from app.server_installation import broker_step, unit_step
from app.server_installation.broker_step import TLS_CONF, find_broker_changes
from app.server_installation.certificate_files import find_listener_changes
from app.server_installation.installation_context import InstallationContext
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import BROKER_UNIT, CERTIFICATE_COPY, PROXY_UNIT, ServerPaths
from app.server_installation.unit_step import find_proxy_changes, render_proxy_conf


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to the broker")
def test_caddy_and_the_broker_serve_nothing_under_a_name_that_was_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (broker_step, unit_step):
        monkeypatch.setattr(module, "is_unit_active", lambda _: True)
        monkeypatch.setattr(module, "is_unit_enabled", lambda _: True)
    paths = ServerPaths(tmp_path)
    for folder in (paths.proxy_settings, paths.broker_conf, paths.broker_settings, paths.broker_state):
        folder.mkdir(parents=True)
    site = paths.proxy_settings / "vigie.caddyfile"
    site.write_text(render_proxy_conf(ServerOptions(name="vigie.test"), paths))
    public = [paths.broker_conf / TLS_CONF, paths.broker_settings / CERTIFICATE_COPY]
    for path in public:
        path.write_text("former")
    context = InstallationContext(paths, ServerOptions(), 2**32)
    assert find_listener_changes(context) == []
    for find_changes in (find_broker_changes, find_proxy_changes):
        for change in find_changes(context):
            change.apply()
        # What was changed is not changed again.
        assert not [each for each in find_changes(context) if str(tmp_path / "etc") in each.title]
    assert "vigie.test" not in site.read_text()
    assert not any(path.exists() for path in public)
    assert context.restart == {BROKER_UNIT}
    assert PROXY_UNIT in context.reload
