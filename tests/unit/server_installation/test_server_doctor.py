"""Findings of `vigie doctor` on files of a server; `make rehearse-server` runs it on a whole one."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from app.server_installation import backup_check, server_doctor
from app.server_installation.certificate_files import CertificateFiles, join_certificate
from app.server_installation.changes import DesiredPath
from app.server_installation.deploy_files import render_deploy_file
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import CERTIFICATE_COPY, ServerPaths, is_server
from app.standalone.doctor import DoctorFinding

OPTIONS = ServerOptions(name="a.example", certificate="/c.pem", key="/k.pem")


def say(findings: list[DoctorFinding]) -> list[tuple[str, str]]:
    return [(each.state, each.detail) for each in findings]


@pytest.fixture
def paths(tmp_path: Path) -> ServerPaths:
    found = ServerPaths(tmp_path)
    found.settings.mkdir(parents=True)
    found.broker_settings.mkdir(parents=True)
    found.broker_conf.mkdir(parents=True)
    return found


def certify(paths: ServerPaths, days: float, lifetime_days: float = 90) -> ServerOptions:
    now = datetime.now(UTC)
    until = now + timedelta(days=days)
    leaf = trustme.CA().issue_cert(
        "a.example", not_after=until, not_before=until - timedelta(days=lifetime_days)
    )
    source = paths.root / "c.pem"
    source.write_bytes(leaf.cert_chain_pems[0].bytes())
    key = paths.root / "k.pem"
    key.write_bytes(leaf.private_key_pem.bytes())
    copy = paths.broker_settings / CERTIFICATE_COPY
    copy.write_text(join_certificate(CertificateFiles(source, key)))
    (paths.broker_conf / "vigie-tls.conf").touch()
    return ServerOptions(name="a.example", certificate=str(source), key=str(key))


def test_a_machine_is_a_server_once_it_has_options(paths: ServerPaths) -> None:
    assert not is_server(paths)
    paths.options_file.touch()
    assert is_server(paths)


@pytest.mark.parametrize(
    ("days", "lifetime_days", "state"),
    [
        (60, 90, "ok"),
        (20, 90, "note"),
        (3, 90, "missing"),
        (-1, 90, "missing"),
        (0.4, 0.5, "ok"),
        (4, 6, "ok"),
    ],
)
def test_a_certificate_is_reported_in_time(
    paths: ServerPaths, days: float, lifetime_days: float, state: str
) -> None:
    found = list(server_doctor._check_certificate(certify(paths, days, lifetime_days), paths))
    assert [each.state for each in found] == [state]
    assert f"{paths.root}/c.pem is valid until" in found[0].detail


def test_a_certificate_that_the_broker_does_not_have_is_reported(paths: ServerPaths) -> None:
    options = certify(paths, 60)
    (paths.broker_settings / CERTIFICATE_COPY).write_text("former")
    found = list(server_doctor._check_certificate(options, paths))
    assert [each.state for each in found] == ["ok", "missing"]
    assert found[1].detail == "the broker has an older one"
    assert found[1].fix == "systemctl start vigie-certificate"
    (paths.broker_conf / "vigie-tls.conf").unlink()
    found = list(server_doctor._check_certificate(options, paths))
    assert found[1].detail == "the broker has no TLS listener yet"


def test_a_missing_certificate_and_a_trial_without_a_name_are_told_apart(paths: ServerPaths) -> None:
    (found,) = server_doctor._check_certificate(ServerOptions(), paths)
    assert found.state == "note"
    (found,) = server_doctor._check_certificate(ServerOptions(name="a.example"), paths)
    assert (found.state, found.detail) == ("missing", "Caddy has none for a.example yet")
    (found,) = server_doctor._check_certificate(OPTIONS, paths)
    assert found.state == "missing"
    assert "/c.pem is no certificate" in found.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")
def test_settings_files_that_others_may_read_are_reported(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("vigie.env", "api.env", "encryption-keys")
    wanted = [DesiredPath(paths.settings / name, None, 0o640, "root", "root") for name in names]
    monkeypatch.setattr(server_doctor, "list_settings_files", lambda *_: wanted)
    for each in wanted[:2]:
        each.path.touch(0o640)
        each.path.chmod(0o640)
    wanted[1].path.chmod(0o644)
    found = list(server_doctor._check_settings_files(OPTIONS, paths))
    assert say(found) == [
        ("missing", f"{paths.settings}/api.env is 0644 root:root instead of 0640 root:root"),
        ("missing", f"{paths.settings}/encryption-keys does not exist"),
    ]
    assert found[0].fix == f"chown root:root {paths.settings}/api.env && chmod 0640 {paths.settings}/api.env"
    wanted[1].path.chmod(0o640)
    wanted[2].path.touch()
    wanted[2].path.chmod(0o640)
    assert say(list(server_doctor._check_settings_files(OPTIONS, paths)))[0][0] == "ok"


def test_a_password_of_the_message_log_that_others_may_read_is_reported(paths: ServerPaths) -> None:
    options = ServerOptions(edge="machine1")
    assert list(server_doctor._check_log_settings(options, paths)) == []
    shipped = render_deploy_file(
        "ha/nats.conf",
        **dict.fromkeys(("name", "host", "client", "monitor", "store", "max_file_store"), "a"),
        **dict.fromkeys(("route", "routes", "username", "password"), "a"),
    )
    paths.log_conf.write_text(shipped)
    paths.log_conf.chmod(0o644)
    (found,) = server_doctor._check_log_settings(options, paths)
    assert found.state == "missing"
    assert "every account can read the password of the message log" in found.detail
    assert found.fix == f"chown root:nats {paths.log_conf} && chmod 640 {paths.log_conf}"
    assert list(server_doctor._check_log_settings(ServerOptions(), paths)) == []
    paths.log_conf.chmod(0o640)
    assert list(server_doctor._check_log_settings(options, paths)) == []
    # As Debian's package brings it.
    paths.log_conf.write_text("port: 4222\n")
    paths.log_conf.chmod(0o644)
    assert list(server_doctor._check_log_settings(options, paths)) == []


def test_a_backup_or_verification_that_failed_is_reported(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"vigie-backup-verify.service"}
    monkeypatch.setattr(backup_check, "is_unit_failed", failed.__contains__)
    monkeypatch.setattr(backup_check, "is_unit_active", lambda _: True)
    assert [each.state for each in backup_check.check_backups(paths)] == ["note"]
    paths.env_file("backup").touch()
    found = list(backup_check.check_backups(paths))
    assert say(found) == [("missing", "the last run of vigie-backup-verify failed")]
    failed.clear()
    assert [each.state for each in backup_check.check_backups(paths)] == ["ok"]
