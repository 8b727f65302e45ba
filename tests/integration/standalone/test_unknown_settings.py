"""Each program names misspelt settings once at its start, and starts all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone.data_directory import lock_data_directory, open_data_directory

FILE = "VIGIE_SMTP__HOTS=hunter2\nVIGE_SMTP__HOST=hunter2\nVIGIE_SMTP__PORT=587\nVITE_API_HOST=hunter2\n"
ENVIRONMENT = {"VIGIE_WEBHOKS__LEASE": "hunter2", "VIGIE_FUZZ_SEED": "1"}
FOUND = {
    ("VIGIE_SMTP__HOTS", "VIGIE_SMTP__HOST", ".env"),
    ("VIGE_SMTP__HOST", "VIGIE_SMTP__HOST", ".env"),
    ("VIGIE_WEBHOKS__LEASE", "VIGIE_WEBHOOKS__LEASE_S", "environment"),
}
SAFE = {
    # Nothing listens there: a migration fails once it has started.
    "VIGIE_DATABASE__URL": "postgresql://vigie:Rk2-aVw81nq@127.0.0.1:1/vigie",
    "VIGIE_BROKER__PASSWORD": "Qd7_zzP01mmv",
    "VIGIE_ENCRYPTION__KEYS": json.dumps([generate_encryption_key()]),
    "VIGIE_BOOTSTRAP_ADMIN_KEY": generate_key(),
}
HINT = "vigie: unknown setting: VIGIE_SMTP__HOTS in .env is ignored: no setting has this name. Did you mean "


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    file = folder / ".env"
    file.write_text(FILE)
    file.chmod(0o600)
    done = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-m", "app", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **ENVIRONMENT, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "hunter2" not in done.stdout + done.stderr
    return done


def logged(text: str) -> list[tuple[str, str, str]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert all(line["level"] == "warning" for line in lines if line["event"] == "unknown_setting")
    return [
        (line["setting"], line["nearest"], line["source"])
        for line in lines
        if line["event"] == "unknown_setting"
    ]


def test_a_role_logs_them_and_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "migrate", **SAFE)
    assert done.returncode == 1
    assert "Connect call failed" in done.stderr  # it has started
    found = logged(done.stdout)
    assert (len(found), set(found)) == (3, FOUND)
    assert "unknown setting" not in done.stderr


def test_a_role_that_is_refused_logs_them_too(tmp_path: Path) -> None:
    done = run(tmp_path, "ingest")
    assert done.returncode == 2
    assert set(logged(done.stdout)) == FOUND
    # How it would log is not known.
    done = run(tmp_path, "api", VIGIE_API__PORT="none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("vigie: unknown setting: ") == 3
    assert "VIGIE_API__PORT" in done.stderr


def test_the_doctor_notes_them(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor")
    assert done.stderr == ""
    notes = [line for line in done.stdout.splitlines() if line.startswith("note     unknown setting: ")]
    assert len(notes) == 3
    assert "VIGIE_SMTP__HOTS in .env is ignored" in done.stdout
    assert "fix: write VIGIE_WEBHOOKS__LEASE_S" in done.stdout
    assert done.returncode == 0
    assert "Everything is there." in done.stdout


def test_other_commands_print_them(tmp_path: Path) -> None:
    for words in (
        ("secrets", "generate"),
        ("up", "--roles", "brew"),
        ("simulate", "replay", "--data", "none"),
    ):
        done = run(tmp_path, *words)
        assert done.stderr.count("vigie: unknown setting: ") == 3, words
        assert f"{HINT}VIGIE_SMTP__HOST?" in done.stderr
        assert "unknown setting" not in done.stdout


def test_a_child_of_a_stack_leaves_them_to_the_supervisor(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    with lock_data_directory(layout):
        for words in (("migrate",), ("ingest",), ("simulate", "replay", "--data", "none")):
            done = run(tmp_path, *words, **SAFE, VIGIE_STACK=layout.marker(), VIGIE_API__PORT="none")
            assert done.returncode != 0
            assert logged(done.stdout) == []
            assert "unknown setting" not in done.stderr
