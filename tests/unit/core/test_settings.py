import pytest
from pydantic import ValidationError

from app.core.settings import DatabaseSettings, Settings, WebhookSettings


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
