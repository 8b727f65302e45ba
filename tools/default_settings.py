"""Makes the settings as they are without any environment."""

from typing import Any

from app.settings import VigieSettings


def default_settings() -> VigieSettings:
    """Return the default settings."""
    values: dict[str, Any] = {name: field.default for name, field in VigieSettings.model_fields.items()}
    return VigieSettings.model_construct(**values)
