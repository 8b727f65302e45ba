"""Creates the Jinja environment of pages and mails. Pure."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def create_template_environment(*folders: Path) -> Environment:
    """Create an environment that loads templates from folders, the first one first.

    Templates escape every value, and fail on an undefined name.
    """
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
