import re
from pathlib import Path

import pytest

from app.presentation.template_environment import create_template_environment

TEMPLATES = Path(__file__).parents[4] / "app" / "console" / "templates"
_FORM = re.compile(r"<form\b[^>]*\bmethod=\"post\"(?:[^>{]|\{\{.*?\}\}|\{%.*?%\}|\{)*>")


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_each_form_that_changes_something_says_where_it_goes(path: Path) -> None:
    # A page that answers a form has the address of that form. A form without `action` would go there.
    forms = _FORM.findall(path.read_text(encoding="utf-8"))
    assert [form for form in forms if ' action="' not in form] == []


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_link_of_the_console_is_relative_to_the_address_of_a_form(path: Path) -> None:
    # Pages of visitors without a session answer no form with links.
    if not path.name.startswith(("portal_", "box_registration")):
        assert 'href="?' not in path.read_text(encoding="utf-8")


def test_the_next_page_of_a_list_is_one_of_its_own_address() -> None:
    source = '{% from "framework/macros.html" import next_page with context %}{{ next_page("?cursor=x") }}'
    page = create_template_environment(TEMPLATES).from_string(source)
    shown = page.render(t=str, page_address="/console/alerts?state=firing")
    assert 'href="/console/alerts?cursor=x"' in shown
