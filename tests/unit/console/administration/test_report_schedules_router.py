"""Recipients as people type them."""

from app.console.administration.report_schedules_router import split_recipients


def test_recipients_are_separated_by_lines_and_commas() -> None:
    typed = " a@example.com\nb@example.org, c@example.org;\n\n"
    assert split_recipients(typed) == ["a@example.com", "b@example.org", "c@example.org"]
    assert split_recipients(" \n") == []
