"""Creates the Jinja environment of pages and mails. Pure, but for reading the templates."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER: Final = Path(__file__).parent / "templates"


def create_template_environment(*folders: Path) -> Environment:
    """Create an environment that loads templates from folders, the first one first, and from this room's.

    Templates escape every value, and fail on an undefined name.
    """
    return Environment(
        loader=FileSystemLoader([*folders, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
