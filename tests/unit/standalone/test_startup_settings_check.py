"""Who may start with what: roles of one's own, and those of `vigie up`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.platform.config.security_finding_catalogue import SECURITY_FINDING_CODES
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings, get_settings
from app.standalone.data_directory import lock_data_directory, open_data_directory
from app.standalone.doctor import check_security
from app.standalone.startup_settings_check import (
    check_stack_settings,
    is_stack_child,
    read_settings_environment,
)

SAFE = {
    "VIGIE_DATABASE__URL": "postgresql://vigie:Rk2-aVw81nq@127.0.0.1:1/vigie",
    "VIGIE_BROKER__PASSWORD": "Qd7_zzP01mmv",
    "VIGIE_ENCRYPTION__KEYS": json.dumps([generate_encryption_key()]),
    "VIGIE_BOOTSTRAP_ADMIN_KEY": generate_key(),
}


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-m", "app", *words],
        env={**variables, "PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("VIGIE_", "PG"))]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("role", "codes"),
    [
        ("api", ["database_without_password", "broker_without_password", "encryption_without_key"]),
        ("ingest", ["database_without_password", "broker_without_password", "session_guessable"]),
        ("migrate", ["database_without_password"]),
    ],
)
def test_a_role_of_ones_own_does_not_start_with_the_defaults(
    tmp_path: Path, role: str, codes: list[str]
) -> None:
    done = run(tmp_path, role)
    assert done.returncode == 2
    first, *lines, last = done.stderr.splitlines()
    assert first == f"vigie: {role} does not start with insecure settings"
    assert [line.split(":")[0].strip() for line in lines] == codes
    assert f"VIGIE_ALLOW_INSECURE='{json.dumps(codes)}'" in last
    assert done.stdout == ""


def test_what_is_allowed_by_name_is_logged_at_each_start(tmp_path: Path) -> None:
    # The database is not there: the migration fails, after the warning.
    done = run(
        tmp_path,
        "migrate",
        **SAFE | {"VIGIE_DATABASE__URL": "postgresql://vigie@127.0.0.1:1/vigie"},
        VIGIE_ALLOW_INSECURE='["database_without_password"]',
    )
    assert done.returncode == 1
    told = json.loads(done.stdout.splitlines()[0])
    assert (told["level"], told["event"]) == ("warning", "insecure_setting_allowed")
    assert (told["code"], told["setting"]) == ("database_without_password", "VIGIE_DATABASE__URL")


def test_what_is_allowed_must_be_a_code(tmp_path: Path) -> None:
    done = run(tmp_path, "api", **SAFE, VIGIE_ALLOW_INSECURE='["all"]')
    assert done.returncode == 2
    assert "VIGIE_ALLOW_INSECURE" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_marker_of_a_stack_alone_makes_no_child_of_it(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    environment = {"VIGIE_STACK": layout.marker()}
    with lock_data_directory(layout):
        # We hold it ourselves: a child of ours is one of the stack, we are none.
        assert not is_stack_child(environment)
        code = (
            "import os; from app.standalone.startup_settings_check import is_stack_child; "
            "print(is_stack_child(os.environ))"
        )
        told = [
            subprocess.run(  # noqa: S603 (our own program)
                [sys.executable, "-c", code],
                env={**os.environ, "VIGIE_STACK": marker},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for marker in (layout.marker(), f"other@{layout.root}", "nonsense")
        ]
    assert told == ["True", "False", "False"]
    assert not is_stack_child({})


def settings(**more: object) -> VigieSettings:
    return VigieSettings.model_validate({"database": {"url": "postgresql://v@db/v"}, **more})


def test_a_stack_decides_on_its_services_unless_they_are_the_operators() -> None:
    open_api = {"api": {"host": "10.0.0.5"}}
    refused, told = check_stack_settings(settings(**open_api), services=True)
    assert (refused, [each.code for each in told]) == ([], ["api_without_tls"])
    refused, told = check_stack_settings(settings(**open_api), services=False)
    assert [each.code for each in refused] == [
        "database_without_password",
        "database_without_tls",
        "broker_without_password",
    ]
    assert [each.code for each in told] == ["api_without_tls", "session_guessable"]
    allowed = settings(allow_insecure=list(SECURITY_FINDING_CODES))
    refused, told = check_stack_settings(allowed, services=False)
    assert refused == []
    assert "database_without_tls" in [each.code for each in told]


def test_vigie_up_refuses_insecure_services_of_others(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--no-services", "--no-demo", "--data-dir", str(tmp_path / "d"))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "vigie: the stack does not start with insecure settings\n  database_without"
    )
    assert not (tmp_path / "d").exists()


def test_a_closed_folder_closes_its_files() -> None:
    # Not under the folder of the tests, which is closed itself.
    with tempfile.TemporaryDirectory() as made:
        folder, file = Path(made), Path(made) / "keys"
        file.write_text(generate_encryption_key())
        file.chmod(0o644)
        given = settings(encryption={"keys_file": file})
        assert read_settings_environment(given, "api", {}).modes["VIGIE_ENCRYPTION__KEYS_FILE"] == 0
        folder.chmod(0o755)
        assert read_settings_environment(given, "api", {}).modes["VIGIE_ENCRYPTION__KEYS_FILE"] == 0o644
        assert "VIGIE_ENCRYPTION__KEYS_FILE" not in read_settings_environment(given, "ingest", {}).modes


def test_the_doctor_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(each) for each in check_security()] == [
        "ok       insecure setting: none that concerns `vigie up`"
    ]
    for name, value in SAFE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VIGIE_ALLOW_INSECURE", '["session_guessable"]')
    monkeypatch.setenv("VIGIE_WEBHOOKS__ALLOW_PRIVATE", "true")
    found = {each.detail.partition(":")[0]: each for each in check_security()}
    assert {code: each.state for code, each in found.items()} == {
        "webhooks_private": "missing",
        "session_guessable": "note",
    }
    assert found["webhooks_private"].detail.endswith("keeps api, deliver from starting")
    assert found["session_guessable"].detail.endswith("(allowed)")
