import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[4] / "app" / "console" / "templates"
_FORM = re.compile(r"<form\b[^>]*\bmethod=\"post\"(?:[^>{]|\{\{.*?\}\}|\{%.*?%\}|\{)*>")


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_each_form_that_changes_something_says_where_it_goes(path: Path) -> None:
    # A page that answers a form has the address of that form. A form without `action` would go there.
    forms = _FORM.findall(path.read_text(encoding="utf-8"))
    assert [form for form in forms if ' action="' not in form] == []
