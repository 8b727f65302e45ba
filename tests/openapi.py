"""The OpenAPI document as `vigie openapi` writes it: made once a session, since that takes seconds."""

import functools
from typing import Any

from app.core.settings import Settings
from app.main import create_app


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The document of an API with the default settings. Nobody changes it."""
    return create_app(Settings(_env_file=None)).openapi()
