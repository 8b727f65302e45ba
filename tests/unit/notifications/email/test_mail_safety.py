"""Whatever things are called, a mail stays what it is."""

import unicodedata
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.mail_rendering import SiteName
from tests.unit.notifications.email.bodies import RESOLVED, alert, group, mail_of

TAGS = {
    *("html", "head", "meta", "title", "body", "table", "tr", "td", "th", "p", "h1", "span", "strong", "br"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "style", "role", "cellpadding", "cellspacing", "border", "width"),
    *("dir", "scope"),
}
NASTY = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    st.lists(
        st.sampled_from(
            [
                *(
                    "<script>alert(1)</script>",
                    '"><img src=x onerror=y>',
                    "</title>",
                    "&lt;",
                    "{0}",
                    "{site}",
                ),
                *(
                    "\r\nBcc: a@example.com\r\n\r\n",
                    "\n.\n",
                    "\u202e",
                    "\u2066",
                    "\u2028",
                    "\0",
                    "\x85",
                    "%s",
                ),
                *("é", "漢字", "\U0001f525", "\u200d", "rue", " ", "\xa0", "\t", "=?utf-8?q?x?="),
            ]
        ),
        max_size=12,
    ).map("".join),
)


class Reader(HTMLParser):
    """Collects what an HTML mail is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.words = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def is_quiet(text: str) -> bool:
    """Whether nothing in a text is invisible, or turns its direction."""
    return all(
        char in "\n\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp")
        for char in text
    )


@given(
    names=st.fixed_dictionaries(
        dict.fromkeys(
            ("rule_name", "box", "metric", "description", "acknowledged_by", "assignee", "severity"), NASTY
        )
    ),
    site=NASTY,
    kind=st.sampled_from(["firing", "resolved", "acknowledged", "escalated", "unheard-of"]),
    word=NASTY,
    grouped=st.booleans(),
    language=st.sampled_from(["en", "fr"]),
)
def test_names_are_shown_and_are_nothing_else(
    names: dict[str, str], site: str, kind: str, word: str, *, grouped: bool, language: str
) -> None:
    data: dict[str, Any] = dict(names)
    if kind == "resolved":
        data |= RESOLVED | {"resolution": word}
    if kind == "escalated":
        data |= {"previous_severity": word, "reason": word}
    data["cause"] = {"function": word, "window": word, "event": None, "boxes": [word]}
    body = alert(kind, **data)
    if grouped:
        body = group(body, alert(box=word, cause={"event": {"type": word, "class": word}}), firing=2)
    mail = mail_of(body, language, {"s-1": SiteName(site, word)})
    assert len(mail.subject) <= 150
    assert "\n" not in mail.subject
    assert mail.subject.startswith("[")
    for text in (mail.subject, mail.text):
        assert is_quiet(text)
    read = Reader(mail.html)
    assert set(read.tags) <= TAGS
    assert set(read.attributes) <= ATTRIBUTES
    assert not read.open
    assert is_quiet(read.words)
    assert mail.subject in read.words


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NASTY,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NASTY, inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from(
        [
            *("alert.firing", "alert.group", "webhook.test", "endpoint.failing", "endpoint.disabled"),
            *("platform.messages_dropped", "new.event"),
        ]
    ),
)
def test_no_event_is_too_strange_to_be_told(data: object, kind: str) -> None:
    mail = mail_of({"type": kind, "timestamp": "now", "data": data})
    assert is_quiet(mail.subject + mail.text)
    assert set(Reader(mail.html).tags) <= TAGS


@pytest.mark.parametrize("language", ["en", "fr"])
def test_nothing_is_loaded_and_colours_are_safe_on_black_and_on_white(language: str) -> None:
    html = mail_of(group(alert(), alert(box="b"), firing=2), language).html
    for word in ("http", "//", "url(", "<img", "<a ", "@import", "<link", "<script", "src="):
        assert word not in html
    assert 'content="light dark"' in html
    for style in Reader(html).attributes["style"]:
        declared = dict(each.split(":", 1) for each in style.split(";") if each)
        # A colour of letters without that behind them may not be seen.
        assert ("color" in declared) == ("background-color" in declared)


def test_text_is_in_lines_of_72_characters() -> None:
    mail = mail_of(alert(description="word " * 100, rule_name="règle " * 20), "fr")
    assert max(map(len, mail.text.splitlines())) <= 72
