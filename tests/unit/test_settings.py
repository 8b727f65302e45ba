from pathlib import Path

import pytest
from pydantic import ValidationError

from app.notifications.settings import WebhookSettings
from app.platform.config.api_settings import ApiSettings
from app.platform.config.platform_settings import (
    DatabaseSettings,
    InvalidSettingsError,
    read_database_settings,
)
from app.settings import VigieSettings, get_settings, read_settings


def test_nested_names_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BROKER__PORT", "1884")
    monkeypatch.setenv("VIGIE_WEBHOOKS__SCHEDULE_S", "[0, 1.5]")
    settings = VigieSettings(_env_file=None)
    assert settings.broker.port == 1884
    assert settings.webhooks.schedule_s == [0, 1.5]


def test_the_database_url_is_taken_with_or_without_a_driver() -> None:
    for text in ("postgresql://a:b@h/d", "postgres://a:b@h/d", "postgresql+asyncpg://a:b@h/d"):
        settings = DatabaseSettings(url=text)
        assert settings.url == "postgresql://a:b@h/d"
    with pytest.raises(ValidationError, match="postgresql://user:password@host:port/name"):
        DatabaseSettings(url="mysql://a")


def test_a_lease_outlasts_an_attempt() -> None:
    with pytest.raises(ValidationError, match="longer than total_timeout_s"):
        WebhookSettings(total_timeout_s=30, lease_s=30)


def test_an_empty_bootstrap_key_is_none_and_a_short_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BOOTSTRAP_ADMIN_KEY", "")
    assert VigieSettings(_env_file=None).bootstrap_admin_key is None
    monkeypatch.setenv("VIGIE_BOOTSTRAP_ADMIN_KEY", "short")
    with pytest.raises(ValidationError, match="16 characters"):
        VigieSettings(_env_file=None)


def test_faults_name_their_variables_and_show_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_DATABASE__URL", "mysql://u:hunter2@h/x")
    monkeypatch.setenv("VIGIE_BOOTSTRAP_ADMIN_KEY", "hunter2")
    monkeypatch.setenv("VIGIE_TLS_LISTENER__PORT", "8883")
    with pytest.raises(InvalidSettingsError) as caught:
        get_settings.__wrapped__()
    text = str(caught.value)
    assert "VIGIE_DATABASE__URL: must look like postgresql://" in text
    assert "VIGIE_BOOTSTRAP_ADMIN_KEY: must have at least 16 characters" in text
    assert "VIGIE_TLS_LISTENER: certificate_file and key_file must be set" in text
    assert "hunter2" not in text
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("variable", "written"),
    [
        ("VIGIE_ALLOW_INSECURE", '["…", "…"]'),
        ("VIGIE_ENCRYPTION__KEYS", '["…", "…"]'),
        ("VIGIE_WEBHOOKS__SCHEDULE_S", "[0, 5]"),
        ("VIGIE_API__READY_REQUIRES", '["database", "migrations"]'),
    ],
)
@pytest.mark.parametrize("value", ["hunter2", "[hunter2]", '"hunter2"', '{"hunter2": 1}', "hunter2,0"])
def test_a_list_written_wrongly_is_named_and_shown_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, written: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    how = f"{variable}: must be a list in JSON, written like {variable}='{written}'"
    told = f"the settings are not valid\n  {how}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings()
    assert str(caught.value) == told
    monkeypatch.delenv(variable)
    (tmp_path / ".env").write_text(f"{variable}={value}\n")
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings()
    assert str(caught.value) == told


def test_what_has_parts_is_set_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BROKER", "127.0.0.1")
    with pytest.raises(InvalidSettingsError, match=r"VIGIE_BROKER: .* such as VIGIE_BROKER__HOST"):
        read_settings()
    monkeypatch.setenv("VIGIE_BROKER", '{"port": 1884}')
    monkeypatch.setenv("VIGIE_BROKER__HOST", "broker")
    assert (VigieSettings(_env_file=None).broker.port, VigieSettings(_env_file=None).broker.host) == (
        1884,
        "broker",
    )


def test_for_the_database_alone_no_other_setting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS_FILE", "/nonexistent/keys")
    monkeypatch.setenv("VIGIE_DATABASE__URL", "postgresql://a:b@h/d")
    assert read_database_settings().url == "postgresql://a:b@h/d"
    monkeypatch.setenv("VIGIE_DATABASE__URL", "mysql://a:hunter2@h/d")
    with pytest.raises(InvalidSettingsError, match="VIGIE_DATABASE__URL: must look like") as caught:
        read_database_settings()
    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BROKER__PASSWORD_FILE", "")
    monkeypatch.setenv("VIGIE_BROKER__PORT", "")
    settings = VigieSettings(_env_file=None)
    assert settings.broker.password_file is None
    assert settings.broker.port == 1883


def test_links_begin_where_clients_reach_the_api() -> None:
    assert ApiSettings.model_validate({}).base_url == "http://127.0.0.1:8000"
    assert ApiSettings.model_validate({"port": 8123}).base_url == "http://127.0.0.1:8123"
    public = ApiSettings.model_validate({"public_url": "https://vigie.example.com/"})
    assert public.base_url == "https://vigie.example.com"
    for wrong in ("vigie.example.com", "ftp://vigie.example.com", "https://", "https://a b"):
        with pytest.raises(ValidationError):
            ApiSettings.model_validate({"public_url": wrong})
