"""The documents say what the code says: generated tables, codes, routes and links."""

import ast
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.notifications.delivery import transport_types
from app.notifications.events.event_types import EVENTS
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from tools.default_settings import default_settings
from tools.docs_tables import ATTEMPT_REASONS, PREFIX, TABLES, flatten_settings
from tools.generate_docs import REPAIR_HINT, ROOT, list_documents, list_tables, render_table

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def codes_in_program() -> set[str]:
    """The stable codes of problems: those of the classes of errors, and those given where one is raised."""
    # Conflicts and invalid requests always say which.
    kinds: list[type[VigieError]] = [VigieError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.code for kind in kinds} - {"conflict", "invalid"}
    for path in ROOT.glob("app/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name == "CodedValueError":
                given += node.args[:1]
            if name.endswith("Error"):
                codes |= {
                    str(value.value)
                    for value in given
                    if isinstance(value, ast.Constant) and isinstance(value.value, str)
                }
    # Named elsewhere than where they are raised.
    elsewhere = {"claim_expired", "claim_revoked", "claim_used_up", "invalid_csv", "too_many_columns"}
    return codes | elsewhere | {"webhook_url_not_allowed", "method_not_allowed", "invalid_value"}


def problem_codes(text: str) -> set[str]:
    section = text.partition("### Codes of problems")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("path", "name", "text"), list(list_tables()), ids=lambda value: getattr(value, "name", "")
)
def test_tables_are_not_stale(path: Path, name: str, text: str) -> None:
    assert name in TABLES, f"{path.name}: nothing generates the table {name}"
    assert text == render_table(name), f"{path.name}: {name} is stale. {REPAIR_HINT}"


def test_every_table_is_somewhere() -> None:
    assert {name for _, name, _ in list_tables()} == set(TABLES)


def test_every_reason_of_an_attempt_has_a_meaning() -> None:
    assert set(ATTEMPT_REASONS) == set(transport_types.REASONS), (
        "complete ATTEMPT_REASONS in tools/docs_tables.py"
    )


def test_every_setting_and_metric_has_a_meaning() -> None:
    settings = flatten_settings(default_settings(), PREFIX)
    assert all(meaning for *_, meaning in settings), "a setting has no description"


def test_every_code_of_a_problem_is_documented() -> None:
    documented = problem_codes((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    known = codes_in_program()
    assert known - documented - set(REJECTION_REASONS) == set(), (
        "add these to `Codes of problems` in docs/api.md"
    )
    assert documented - known == set(), "docs/api.md documents codes that nothing raises"


def test_every_webhook_event_is_documented() -> None:
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    assert [event for event in EVENTS if f"| `{event}` |" not in text] == []


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", list_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == [], f"{path.relative_to(ROOT)} links to what is not there"


NAMED = re.compile(r"`(\w+)` (?:in|of)\s+\[`[^`]+`\]\(([^)#]+\.py)\)")
CODE = re.compile(r"`([a-z]+_[a-z_]+|_[a-z_]+|[A-Z][a-z]+[A-Z]\w+)`")
# Tables, reasons and MQTT's own words.
NO_NAMES = {"incident_marks", "http_error"}


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)}
    assigned = (
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    return found | {node.id for node in assigned}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "walkthroughs").glob("*.md")), ids=lambda path: path.stem
)
def test_walkthroughs_name_what_is_in_the_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {
        link: defined((path.parent / link).resolve()) for link in LINK.findall(text) if link.endswith(".py")
    }
    missing = [f"{name} in {link}" for name, link in NAMED.findall(text) if name not in known[link]]
    labels = re.findall(r"\[`([^`]+\.py)`\]\(([^)#]+)\)", text)
    missing += [label for label, link in labels if Path(label).name != Path(link).name]
    everywhere = set().union(*known.values())
    missing += [name for name in CODE.findall(text) if name not in everywhere | NO_NAMES]
    assert missing == []
