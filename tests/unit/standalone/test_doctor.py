import base64
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.notifications.email.email_transport import find_smtp_fault
from app.platform.secrets.sealing import derive_key_name
from app.processes.cli import app
from app.standalone import doctor, private_mosquitto, private_postgres
from app.standalone.data_directory import DataDirectory, lock_data_directory, open_data_directory


def states(layout: DataDirectory) -> dict[str, str]:
    return {finding.subject: finding.state for finding in doctor.examine_machine(layout)}


def test_nothing_is_missing_where_the_tests_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run_doctor(tmp_path / ".vigie") == 0
    told = capsys.readouterr().out
    assert told.endswith("Everything is there.\n")
    for what in ("Python", "PostgreSQL", "TimescaleDB", "Mosquitto", "data directory", "disk"):
        assert f"ok       {what}: " in told
    assert not (tmp_path / ".vigie").exists()


def test_the_command_looks_at_the_data_directory_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("")
    done = CliRunner().invoke(app, ["doctor", "--data-dir", str(tmp_path / "d")])
    assert done.exit_code == 1
    assert f"missing  data directory: {tmp_path}/d cannot be written" in done.stdout


def test_what_is_missing_comes_with_the_command_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_postgres, "find_postgres_binaries", lambda: None)
    monkeypatch.setattr(private_mosquitto, "find_mosquitto", lambda: None)
    assert doctor.run_doctor(tmp_path / ".vigie") == 1
    told = capsys.readouterr().out
    assert "missing  PostgreSQL" in told
    assert "apt-get install postgresql-17 postgresql-17-timescaledb" in told
    assert "apt-get install mosquitto" in told
    assert told.endswith("2 missing.\n")


def test_the_encryption_key_is_named_and_never_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout = DataDirectory(tmp_path / "d")
    for name in ("VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)
    (told,) = [str(each) for each in doctor.examine_machine(layout) if each.subject == "encryption key"]
    assert told.startswith("ok ")
    assert "`vigie up` uses the one that it keeps (nothing to do)" in told
    # Nothing that would have to be set, and take the place of the key that is kept.
    assert "fix:" not in told
    old, new = base64.b64encode(b"o" * 32).decode(), base64.b64encode(b"n" * 32).decode()
    file = tmp_path / "keys"
    file.write_text(f"{new}\n{old}\n")
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS_FILE", str(file))
    doctor.run_doctor(tmp_path / "d")
    told = capsys.readouterr().out
    assert (
        f"seals with {derive_key_name(b'n' * 32)}, also opens values of {derive_key_name(b'o' * 32)}" in told
    )
    assert new not in told
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS", '["hunter2"]')
    assert doctor.run_doctor(tmp_path / "d") == 1
    told = capsys.readouterr().out
    assert "missing  settings" in told
    assert "VIGIE_ENCRYPTION__KEYS: a key must be 32 bytes in base64" in told
    assert "hunter2" not in told


def test_the_mail_servers_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIGIE_SMTP__HOST", raising=False)
    assert list(doctor.check_mail_server(find_smtp_fault)) == []
    monkeypatch.setenv("VIGIE_SMTP__HOST", "mail.example.com")
    monkeypatch.setenv("VIGIE_SMTP__SENDER", "Vigie <vigie@example.com>")
    (found,) = doctor.check_mail_server(find_smtp_fault)
    assert (found.state, found.subject) == ("ok", "mail server")
    monkeypatch.setenv("VIGIE_SMTP__CA_FILE", str(tmp_path / "none.pem"))
    (found,) = doctor.check_mail_server(find_smtp_fault)
    assert (found.state, found.detail[:20]) == ("missing", "VIGIE_SMTP__CA_FILE:")
    monkeypatch.setenv("VIGIE_SMTP__SENDER", "nobody")
    (found,) = doctor.check_mail_server(find_smtp_fault)
    assert (found.state, found.detail[:19]) == ("missing", "VIGIE_SMTP__SENDER:")
    assert doctor.run_doctor(tmp_path / "d", [found]) == 1


def test_a_running_stack_is_seen(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    with lock_data_directory(layout):
        found = [
            str(finding) for finding in doctor.examine_machine(layout) if finding.subject == "data directory"
        ]
    assert "in use by a running stack" in found[0]


def test_lost_services_are_named(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    (tmp_path / "elsewhere").mkdir()
    layout.services.symlink_to(tmp_path / "elsewhere")
    assert states(layout)["services"] == "ok"
    shutil.rmtree(tmp_path / "elsewhere")
    assert states(layout)["services"] == "missing"


def test_a_file_in_the_data_directorys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("")
    assert states(DataDirectory(tmp_path / "d"))["data directory"] == "missing"


def test_without_what_lays_out_pdfs_reports_are_html(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(doctor.check_report_libraries()) == "ok       reports: as HTML and PDF"
    monkeypatch.setattr(doctor, "_PDF_LIBRARIES", {"libnowhere.so.0": "libnowhere-0"})
    assert doctor.check_report_libraries().state == "note"
    assert doctor.check_report_libraries().fix == "sudo apt-get install libnowhere-0"
