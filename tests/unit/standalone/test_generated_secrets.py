"""What is printed for a new installation is all that its roles need, and is safe."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.settings import VigieSettings
from app.standalone.insecure_settings import SettingsEnvironment, find_insecure_settings
from app.standalone.secrets_cli import app
from app.standalone.startup_settings_check import find_security_findings
from tools.default_settings import default_settings
from tools.docs_tables import flatten_settings

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _printed(*arguments: str) -> VigieSettings:
    done = RUNNER.invoke(app, ["generate", *arguments])
    assert done.exit_code == 0, done.output
    file = Path(".env")
    file.write_text(done.output)
    file.chmod(0o600)
    return VigieSettings()


def test_with_what_is_printed_every_role_starts(tmp_path: Path) -> None:
    assert find_security_findings(_printed()) == []
    assert list(find_insecure_settings(VigieSettings(), "migrate", SettingsEnvironment())) == []
    by_file = _printed("--keys-file", "keys")
    assert find_security_findings(by_file) == []
    assert by_file.encryption.keys_file == tmp_path / "keys"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_nothing_is_printed_twice() -> None:
    one, other = (
        {
            line
            for line in RUNNER.invoke(app, ["generate"]).output.splitlines()
            if re.match(r"V|# (gateway|api|ingest|deliver|maintain): ", line)
        }
        for _ in range(2)
    )
    assert one & other == {"VIGIE_BROKER__USERNAME=ingest"}
    assert len(one) == 11
    urls = {each.partition("VIGIE_DATABASE__URL=postgresql://")[2].partition(":")[0] for each in one} - {""}
    assert urls == {"vigie", "vigie_api", "vigie_ingest", "vigie_deliver", "vigie_maintain"}


def test_a_file_of_keys_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("what seals\n")
    done = RUNNER.invoke(app, ["generate", "--keys-file", str(file)])
    assert done.exit_code == 2
    assert "cannot be created: File exists" in done.stderr
    assert done.stdout == ""
    assert file.read_text() == "what seals\n"


def test_no_secret_has_a_default() -> None:
    secret = re.compile(r"PASSWORD`$|SECRET|(?<!PER)(?<!API)_KEYS?`$|ADMIN_KEY")
    found = {
        variable: value
        for variable, value, _ in flatten_settings(default_settings(), "VIGIE_")
        if secret.search(variable)
    }
    assert len(found) >= 4
    assert set(found.values()) <= {"unset", "empty", "`[]`"}
    assert ":" not in default_settings().database.url.partition("://")[2].partition("@")[0]
