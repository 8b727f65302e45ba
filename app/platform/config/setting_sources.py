"""Where settings are read from: `VIGIE_…` variables, and a `.env` file.

Owns how their texts become values. What a value may be is the settings' own matter (`settings`).

Types that settings of several kinds share.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.platform.config.setting_names import SETTING_PREFIX, VariableSource

_ENV_FILE: Final = ".env"


class _Decoding(PydanticBaseSettingsSource):
    """A source whose lists and objects are JSON, where they are any.

    What is none stays a text, which no list is: as a fault of its field it is told with its variable. The
    source's own error names the outermost setting only.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 (pydantic's)
        """A value, or its text where that is no JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class _Variables(_Decoding, EnvSettingsSource):
    """The process's environment."""


class _EnvFile(_Decoding, DotEnvSettingsSource):
    """A file of variables."""


class EnvironmentSettings(BaseSettings):
    """Settings that are read so."""

    model_config = SettingsConfigDict(
        env_prefix=SETTING_PREFIX,
        env_nested_delimiter="__",
        env_file=_ENV_FILE,
        extra="ignore",
        # `VIGIE_…_FILE=` in a file of variables means "none", not the working directory.
        env_ignore_empty=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (one of ours is in its place)
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the first one winning."""
        file = dotenv_settings.env_file if isinstance(dotenv_settings, DotEnvSettingsSource) else None
        variables = _Variables(settings_cls)
        return init_settings, variables, _EnvFile(settings_cls, env_file=file), file_secret_settings


def read_variable_names(environ: Iterable[str]) -> dict[str, VariableSource]:
    """List all names in the environment and in the `.env` file, as they are written, without their values.

    A file that cannot be read has none: the settings themselves fail of it. Nor has a pipe, which may give
    its text once only.
    """
    names: dict[str, VariableSource] = {}
    if Path(_ENV_FILE).is_file():
        try:
            file = DotEnvSettingsSource(EnvironmentSettings, case_sensitive=True, env_ignore_empty=False)
        except (OSError, ValueError):
            pass
        else:
            names |= dict.fromkeys(file.env_vars, _ENV_FILE)
    return names | dict.fromkeys(environ, "environment")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
