"""Reads settings from `VIGIE_…` variables and a `.env` file, unless `VIGIE_NO_ENV_FILE` is set.

Parses lists and objects as JSON, and holds the field types that several groups of settings share. `settings`
validates the values.
"""

import os
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

from app.platform.config.misspelt_setting_names import SETTING_PREFIX, VariableSource

_ENV_FILE: Final = ".env"
_NO_ENV_FILE: Final = "VIGIE_NO_ENV_FILE"


def find_env_file() -> Path | None:
    """Return the `.env` file of the working directory, which may not exist; None: no such file counts.

    The command of a server's administrator is called in any folder, and other accounts may write there.
    """
    return None if os.environ.get(_NO_ENV_FILE) else Path(_ENV_FILE)


class _Decoding(PydanticBaseSettingsSource):
    """A source that parses lists and objects as JSON.

    A value that is no JSON stays text, which is then a fault of its field and names its variable. The
    source's own error would name only the outermost setting.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 (pydantic's)
        """Return the parsed value, or its text where that is no JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class _Variables(_Decoding, EnvSettingsSource):
    """The process's environment."""


class _EnvFile(_Decoding, DotEnvSettingsSource):
    """A file of variables."""


class EnvironmentSettings(BaseSettings):
    """Base of settings that are read from the environment."""

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
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (replaced by `_Variables`)
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources; the first one wins.

        Args:
            settings_cls: the settings.
            init_settings: arguments of the constructor.
            env_settings: replaced by `_Variables`.
            dotenv_settings: names the `.env` file.
            file_secret_settings: files of secrets.
        """
        file = None
        if isinstance(dotenv_settings, DotEnvSettingsSource) and find_env_file() is not None:
            file = dotenv_settings.env_file
        variables = _Variables(settings_cls)
        return init_settings, variables, _EnvFile(settings_cls, env_file=file), file_secret_settings


def read_variable_names(environ: Iterable[str]) -> dict[str, VariableSource]:
    """Return all names in the environment and in the `.env` file, as written, without their values.

    A file that cannot be read has none: reading the settings reports it. Nor has a pipe, which may give its
    text only once.
    """
    names: dict[str, VariableSource] = {}
    path = find_env_file()
    if path is not None and path.is_file():
        try:
            file = DotEnvSettingsSource(
                EnvironmentSettings, env_file=path, case_sensitive=True, env_ignore_empty=False
            )
        except (OSError, ValueError):
            pass
        else:
            names |= dict.fromkeys(file.env_vars, _ENV_FILE)
    return names | dict.fromkeys(environ, "environment")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
