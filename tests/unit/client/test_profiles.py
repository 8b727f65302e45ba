import json
import stat
from pathlib import Path

import pytest

from app.client.client_errors import UsageError
from app.client.profiles import (
    Profile,
    check_key,
    check_url,
    find_profiles_file,
    read_profiles,
    remove_profile,
    resolve_profile,
    sends_key_in_clear,
    write_profile,
)

ONE = Profile("https://a.example", "vg_one")


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("VIGIE_URL", "VIGIE_API_KEY", "VIGIE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_only_the_owner_can_read_the_keys() -> None:
    file = write_profile("default", ONE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    write_profile("other", Profile("http://127.0.0.1:8000", "vg_two"))
    assert resolve_profile(None) == ONE
    assert resolve_profile("other").key == "vg_two"
    remove_profile("other")
    assert list(read_profiles()) == ["default"]


def test_a_file_that_others_may_read_is_refused() -> None:
    file = write_profile("default", ONE)
    file.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        resolve_profile(None)


@pytest.mark.parametrize("content", ["", "[]", '{"profiles": {"a": {"url": 1}}}', '{"profiles": []}'])
def test_a_damaged_file_is_named(content: str) -> None:
    file = write_profile("default", ONE)
    file.write_text(content)
    with pytest.raises(UsageError, match="damaged"):
        read_profiles()


def test_the_environment_has_precedence_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile("default", ONE)
    write_profile("work", Profile("https://b.example", "vg_work"))
    monkeypatch.setenv("VIGIE_PROFILE", "work")
    assert resolve_profile(None).key == "vg_work"
    monkeypatch.setenv("VIGIE_URL", "https://c.example/")
    with pytest.raises(UsageError, match="both"):
        resolve_profile(None)
    monkeypatch.setenv("VIGIE_API_KEY", "vg_env")
    assert resolve_profile(None) == Profile("https://c.example", "vg_env")
    assert resolve_profile("default") == ONE
    with pytest.raises(UsageError, match="Profiles: default, work"):
        resolve_profile("elsewhere")


def test_a_relative_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    assert find_profiles_file() == Path.home() / ".config/vigie/profiles.json"


@pytest.mark.parametrize("url", ["vigie.example", "ftp://a", "https://", "https://a?b", "https://u:p@a"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)


def test_keys_in_clear_are_noticed() -> None:
    assert [sends_key_in_clear(f"http://{host}") for host in ("localhost", "127.0.0.1:8", "[::1]")] == [
        False
    ] * 3
    assert [sends_key_in_clear(url) for url in ("https://a", "http://a", "http://10.0.0.1")] == [
        False,
        True,
        True,
    ]


def test_the_file_is_json() -> None:
    file = write_profile("default", ONE)
    assert json.loads(file.read_text()) == {"profiles": {"default": {"url": ONE.url, "key": ONE.key}}}


def test_a_key_of_the_environment_may_end_in_a_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_URL", "https://c.example/")
    monkeypatch.setenv("VIGIE_API_KEY", " vg_env\n")
    assert resolve_profile(None) == Profile("https://c.example", "vg_env")


@pytest.mark.parametrize("key", [" ", "vg_secret\nb", "vg_sécret", "vg_secret\x00"])
def test_what_is_no_key_is_refused_without_its_text(key: str) -> None:
    with pytest.raises(UsageError) as told:
        check_key(key)
    assert "cret" not in str(told.value)
