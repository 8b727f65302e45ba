import base64
import subprocess
from pathlib import Path

import pytest

from app.platform.broker.mosquitto_password_hash import (
    format_password_line,
    hash_mosquitto_password,
    verify_mosquitto_password,
)
from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.unprivileged_accounts import find_program

PASSWORDS = ["secret", "with space", "dollar$colon:", "é\u00a0漢字", "x" * 200]


@pytest.mark.parametrize("password", PASSWORDS)
def test_what_mosquittos_own_tool_writes_is_verified(tmp_path: Path, password: str) -> None:
    tool = find_program("mosquitto_passwd")
    assert tool is not None
    subprocess.run(  # noqa: S603  # Mosquitto's own tool
        [str(tool), "-b", "-c", str(tmp_path / "file"), "box", password], check=True
    )
    name, _, hashed = (tmp_path / "file").read_text().strip().partition(":")
    assert name == "box"
    assert verify_mosquitto_password(password, hashed)
    assert not verify_mosquitto_password(password + "x", hashed)


def test_the_hash_is_the_tools_for_the_same_salt(tmp_path: Path) -> None:
    tool = find_program("mosquitto_passwd")
    assert tool is not None
    (tmp_path / "file").write_text("box:secret\n")
    subprocess.run([str(tool), "-U", str(tmp_path / "file")], check=True)  # noqa: S603  # Mosquitto's own tool
    hashed = (tmp_path / "file").read_text().strip().partition(":")[2]
    _, _, rounds, salt, _ = hashed.split("$")
    assert hash_mosquitto_password("secret", salt=base64.b64decode(salt), iterations=int(rounds)) == hashed


def test_every_hash_has_a_salt_of_its_own() -> None:
    assert hash_mosquitto_password("secret") != hash_mosquitto_password("secret")


@pytest.mark.parametrize(
    "hashed", ["", "secret", "$6$abc$def", "$7$x$AAAA$AAAA", "$7$101$*$AAAA", "$7$0$AAAA$AAAA", "$7$101$AAAA"]
)
def test_anything_else_is_not_verified(hashed: str) -> None:
    assert not verify_mosquitto_password("secret", hashed)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a\nb", "a\u2028b", "a\u202eb"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="username"):
        format_password_line(name, "secret")


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file_text(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    replace_file_text(path, "two")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o640)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        replace_file_text(path, "lone \ud800 surrogate")
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
