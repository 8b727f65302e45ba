import pytest
from pydantic import ValidationError

from app.core.api_settings import ApiSettings
from app.core.settings import (
    DatabaseSettings,
    InvalidSettingsError,
    Settings,
    WebhookSettings,
    get_settings,
)


def test_nested_names_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BROKER__PORT", "1884")
    monkeypatch.setenv("VIGIE_WEBHOOKS__SCHEDULE_S", "[0, 1.5]")
    settings = Settings(_env_file=None)
    assert settings.broker.port == 1884
    assert settings.webhooks.schedule_s == [0, 1.5]


def test_the_database_url_is_taken_with_or_without_a_driver() -> None:
    for text in ("postgresql://a:b@h/d", "postgres://a:b@h/d", "postgresql+asyncpg://a:b@h/d"):
        settings = DatabaseSettings(url=text)
        assert settings.url == "postgresql://a:b@h/d"
        assert settings.sqlalchemy_url == "postgresql+asyncpg://a:b@h/d"
    with pytest.raises(ValidationError, match="postgresql://user:password@host:port/name"):
        DatabaseSettings(url="mysql://a")


def test_a_lease_outlasts_an_attempt() -> None:
    with pytest.raises(ValidationError, match="longer than total_timeout_s"):
        WebhookSettings(total_timeout_s=30, lease_s=30)


def test_an_empty_bootstrap_key_is_none_and_a_short_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BOOTSTRAP_ADMIN_KEY", "")
    assert Settings(_env_file=None).bootstrap_admin_key is None
    monkeypatch.setenv("VIGIE_BOOTSTRAP_ADMIN_KEY", "short")
    with pytest.raises(ValidationError, match="16 characters"):
        Settings(_env_file=None)


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


def test_a_list_that_is_no_json_is_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_WEBHOOKS__SCHEDULE_S", "0,5")
    with pytest.raises(InvalidSettingsError, match="webhooks"):
        get_settings.__wrapped__()


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_BROKER__PASSWORD_FILE", "")
    monkeypatch.setenv("VIGIE_BROKER__PORT", "")
    settings = Settings(_env_file=None)
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
