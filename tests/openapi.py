"""The OpenAPI document, made once a session: that takes seconds."""

import functools
from typing import Any

from app.processes.api_application import create_app
from app.settings import VigieSettings


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The document of an API with the default settings. Nobody changes it."""
    return create_app(VigieSettings(_env_file=None)).openapi()
