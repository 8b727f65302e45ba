"""Programs that verify signatures do so: those of the languages that this machine has are run."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.console.delivery.verification_snippets import load_snippets
from app.notifications.http.webhook_signatures import generate_secret, sign_message

SECRET = generate_secret()
BODY = '{"type": "webhook.test", "data": {"name": "é"}}'.encode()
CODE = {each.name: each.code for each in load_snippets()}


def signed(body: bytes = BODY, *, ago_s: int = 0, secret: str = SECRET) -> dict[str, str]:
    timestamp = int(time.time()) - ago_s
    other = sign_message(generate_secret(), "msg_1", timestamp, body)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        # During a change of the secret there are several.
        "webhook-signature": f"{other} {sign_message(secret, 'msg_1', timestamp, body)}",
    }


def run(command: list[str], folder: Path) -> bool:
    """Whether the program accepted the message; what else goes wrong is an error of the test."""
    done = subprocess.run(  # noqa: S603 (own programs)
        command,
        cwd=folder,
        env={**os.environ, "VIGIE_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        assert "verified" in done.stdout, done
        return True
    assert "not signed by Vigie" in done.stderr or "too old" in done.stderr, done.stderr
    return False


def by_python(folder: Path, headers: dict[str, str], body: bytes) -> bool:
    program = f"{CODE['python']}\nassert verify({body!r}, {headers!r})['type']\nprint('verified')\n"
    (folder / "receiver.py").write_text(program, encoding="utf-8")
    return run([sys.executable, "receiver.py"], folder)


def by_node(folder: Path, headers: dict[str, str], body: bytes) -> bool:
    (folder / "vigie.cjs").write_text(CODE["node"], encoding="utf-8")
    program = (
        "const { verify } = require('./vigie.cjs');\n"
        f"const event = verify(Buffer.from('{body.hex()}', 'hex'), {json.dumps(headers)});\n"
        "if (event.type) console.log('verified');\n"
    )
    (folder / "receiver.cjs").write_text(program, encoding="utf-8")
    node = shutil.which("node")
    assert node is not None
    return run([node, "receiver.cjs"], folder)


@pytest.mark.parametrize("verify", [by_python, by_node])
def test_a_program_accepts_what_vigie_signed_and_nothing_else(
    verify: Callable[[Path, dict[str, str], bytes], bool], tmp_path: Path
) -> None:
    assert verify(tmp_path, signed(), BODY)
    assert not verify(tmp_path, signed(), BODY.replace(b"test", b"evil"))
    assert not verify(tmp_path, signed(secret=generate_secret()), BODY)
    assert not verify(tmp_path, signed(ago_s=301), BODY)


def test_all_programs_sign_the_same_text_and_compare_in_constant_time() -> None:
    compares = {
        "python": "compare_digest",
        "node": "timingSafeEqual",
        "php": "hash_equals",
        "java": "MessageDigest.isEqual",
        "go": "hmac.Equal",
        "csharp": "FixedTimeEquals",
        "ruby": "secure_compare",
    }
    assert compares.keys() | {"shell"} == CODE.keys()
    for name, function in compares.items():
        assert function in CODE[name], name
        assert "300" in CODE[name] or "5*time.Minute" in CODE[name], name
        assert "v1," in CODE[name], name
