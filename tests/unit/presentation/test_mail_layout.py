from app.presentation.mail_layout import MailContent, MailListItem, render_html, render_plain_text

PAGE = MailContent(
    subject="[Critical] Dust & 'noise'",
    tone="critical",
    word="Critical",
    title="Dust <b>here</b>",
    lead="An alert has begun to fire.",
    rows=(("Site", 'Rue "A"'),),
    advice=("Close the windows.", "Call."),
    items=(
        MailListItem("warning", "Warning", "box-1", "PM2.5", "https://a.example/?x=1&y=2"),
        MailListItem("resolved", "Resolved", "box-2", ""),
    ),
    more="2 more alerts are not listed here.",
    footer=("One.", "Two."),
    link="https://vigie.example/alerts/1",
)


def test_html_has_every_part_escaped() -> None:
    html = render_html(PAGE, "en")
    for part in (
        '<html lang="en">',
        "<title>[Critical] Dust &amp; &#39;noise&#39;</title>",
        "border-left:4px solid #b3261e;",
        "Dust &lt;b&gt;here&lt;/b&gt;</h1>",
        "Rue &#34;A&#34;</td></tr>",
        "<strong>What to do</strong><br>\nClose the windows.<br>\nCall.</p>",
        '<strong><a href="https://a.example/?x=1&amp;y=2">box-1</a></strong><br>PM2.5</td></tr>',
        "<strong>box-2</strong></td></tr>",
        "not listed here.</p>",
        '<a href="https://vigie.example/alerts/1">Open in Vigie</a>',
        "One.<br>\nTwo.</p>",
    ):
        assert part in html


def test_parts_without_content_are_left_out() -> None:
    html = render_html(PAGE._replace(rows=(), advice=(), items=(), more=None, link=None), "en")
    assert html.count("<table") == 1
    assert html.count("<p") == 3
    assert "<a " not in html


def test_plain_text_has_every_part() -> None:
    assert render_plain_text(PAGE, "fr") == (
        "[Critical] Dust <b>here</b>\n\nAn alert has begun to fire.\n\n"
        'Site\xa0: Rue "A"\n\n'
        "Ce qu\u2019il faut faire\xa0:\nClose the windows.\nCall.\n\n"
        "- [Warning] box-1\xa0: PM2.5 https://a.example/?x=1&y=2\n- [Resolved] box-2\n\n"
        "2 more alerts are not listed here.\n\n"
        "Ouvrir dans Vigie\xa0: https://vigie.example/alerts/1\n\n"
        "-- \nOne.\nTwo.\n"
    )
