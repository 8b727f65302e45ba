"""The guides as pages: what is rendered, and that each link of each guide leads somewhere."""

import re
from html import unescape

import pytest

from app.pages.guide_rendering import (
    GUIDES_PATH,
    ROOT,
    list_guides,
    map_guide_files,
    map_guide_sources,
    read_guide,
    render_guide,
    render_task_table,
    resolve_guide_link,
)

LINK = re.compile(r'<(?:a href|img src)="([^"]*)"')
OPEN = ("https://", "http://", "mailto:")


def anchors(body: str) -> set[str]:
    return set(re.findall(r' id="([^"]+)"', body))


def test_every_file_of_the_manual_is_a_guide() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(map_guide_sources().values()) == there | {"README.md", "CHANGELOG.md"}
    assert map_guide_sources()["alerts"] == "docs/alerts.md"
    assert map_guide_sources()["decisions"] == "docs/decisions/README.md"


@pytest.mark.parametrize("name", map_guide_sources())
def test_each_link_of_a_guide_leads_to_a_guide_or_a_file(name: str) -> None:
    guide = read_guide(name)
    assert guide.title
    for link in map(unescape, LINK.findall(guide.body)):
        if link.startswith(OPEN):
            continue
        page, _, anchor = link.partition("#")
        target = page.removeprefix(f"{GUIDES_PATH}/")
        if page and target in map_guide_files():
            assert not anchor
            continue
        assert not page or target in map_guide_sources(), f"{name} leads to {link}"
        body = guide.body if not page else read_guide(target).body
        assert not anchor or anchor in anchors(body), f"{name} leads to {link}"


@pytest.mark.parametrize("name", map_guide_sources())
def test_a_guide_has_nothing_that_the_policy_forbids(name: str) -> None:
    body = read_guide(name).body
    assert not re.search(r"<[^>]*\s(?:style|on\w+)=", body)
    assert "<script" not in body
    assert "&lt;!--" not in re.sub(r"<code.*?</code>", "", body, flags=re.DOTALL)


def test_each_heading_of_the_contents_is_on_the_page() -> None:
    guide = read_guide("rules")
    assert [each.text for each in guide.headings[:2]] == ["Conditions", "A value"]
    assert {each.anchor for each in guide.headings} <= anchors(guide.body)


@pytest.mark.parametrize(
    ("link", "source", "address"),
    [
        ("rules.md#silence", "docs/alerts.md", f"{GUIDES_PATH}/rules#silence"),
        ("../README.md", "docs/alerts.md", f"{GUIDES_PATH}/readme"),
        ("docs/people.md", "README.md", f"{GUIDES_PATH}/people"),
        ("README.md", "docs/decisions/0001-row-shape.md", f"{GUIDES_PATH}/decisions"),
        ("../quality.md", "docs/decisions/0001-row-shape.md", f"{GUIDES_PATH}/quality"),
        ("img/register-en.png", "docs/register.md", f"{GUIDES_PATH}/img/register-en.png"),
        ("../app/ingest/pipeline/batch_pipeline.py", "docs/architecture.md", ""),
        ("../../etc/passwd", "docs/alerts.md", ""),
        ("https://example.com/x", "docs/alerts.md", "https://example.com/x"),
        ("#silence", "docs/rules.md", "#silence"),
    ],
)
def test_where_a_link_leads(link: str, source: str, address: str) -> None:
    assert resolve_guide_link(link, source) == address


def test_raw_html_is_not_taken_over() -> None:
    guide = render_guide("# A <b>x</b>\n\n<script>alert(1)</script>\n\n<!-- mark -->\n\n`<i>`", "docs/x.md")
    assert "<script" not in guide.body
    assert "<b>" not in guide.body
    assert "<code>&lt;i&gt;</code>" in guide.body


def test_a_link_to_what_is_not_served_is_plain_text() -> None:
    body = render_guide(
        "See [`the pipeline`](../app/ingest/pipeline/batch_pipeline.py), [rules](rules.md).", "docs/x.md"
    ).body
    assert "<span><code>the pipeline</code></span>" in body
    assert f'<a href="{GUIDES_PATH}/rules">rules</a>' in body


def test_two_headings_alike_have_two_anchors() -> None:
    guide = render_guide("# T\n\n## A\n\n## A\n", "docs/x.md")
    assert [each.anchor for each in guide.headings] == ["a", "a-1"]


def test_the_index_has_each_guide_and_each_task() -> None:
    named = dict(list_guides())
    assert {f"{GUIDES_PATH}/{name}" for name in map_guide_sources() if "/" not in name} == set(named)
    assert render_task_table().count(f'href="{GUIDES_PATH}/') > 30
