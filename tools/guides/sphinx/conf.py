"""Configures Sphinx for the guides."""

import re
from typing import Any

import furo
from sphinx.application import Sphinx

from app import __version__
from tools.guides.navigation import SHORT_TITLES
from tools.guides.sidebar import render_sidebar
from tools.guides.source_tree import FILE_SCHEME

project = "Vigie"
release = __version__
html_title = f"Vigie {__version__}"
extensions = ["myst_parser"]
# Straight quotes, as in the code that the guides quote.
smartquotes = False
# JSON with an ellipsis is no JSON.
suppress_warnings = ["misc.highlighting_failure"]
myst_heading_anchors = 6
myst_url_schemes = {"http": None, "https": None, "mailto": None, FILE_SCHEME: "{{path}}"}
html_theme = "furo"
html_theme_options = {"sidebar_hide_name": False}
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["guides.css"]
html_favicon = "static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_use_index = False
# The API serves `alerts.html` as `alerts`.
html_link_suffix = ""


# Our own navigation takes its place (`tools.guides.sidebar`).
furo._compute_navigation_tree = lambda _context: ""  # noqa: SLF001 (it has no option for that)


def _adapt_page(app: Sphinx, name: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Add the navigation, make wide blocks scrollable with the keyboard, and load pictures lazily."""
    titles = {page: title.astext() for page, title in app.env.titles.items()} | dict(SHORT_TITLES)
    context["guides_sidebar"] = render_sidebar(name, titles, app.env.toctree_includes)
    body = context.get("body")
    if body:
        body = body.replace("<pre>", '<pre tabindex="0">')
        body = body.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
        context["body"] = re.sub(r"<img (?![^>]*loading=)", '<img loading="lazy" ', body)


def setup(app: Sphinx) -> None:
    """Register the hooks."""
    app.connect("html-page-context", _adapt_page)
