import io
from dataclasses import replace

import pytest
from rich.console import Console

from app.standalone.data_directory import DemoAccess, StackAddresses
from app.standalone.status_screen import (
    MessageRate,
    PipeSafeConsole,
    StartupScreen,
    build_metric_rows,
    format_total,
)
from app.standalone.traffic_counts import StackMetrics

REACH = StackAddresses(
    api="http://127.0.0.1:8000",
    admin_key="vg_key",
    mqtt_host="127.0.0.1",
    mqtt_port=1883,
    mqtt_username="gateway",
    mqtt_password="secret",
    database="postgresql://…",
)


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_the_rate_needs_two_readings_and_survives_a_restart_of_the_counter() -> None:
    rate = MessageRate()
    assert rate.next(100.0, 10.0) is None
    assert rate.next(300.0, 12.0) == 100.0
    assert rate.next(50.0, 13.0) == 0.0
    assert rate.next(None, 14.0) is None
    assert rate.next(60.0, 15.0) is None


def test_unknown_figures_are_shown_as_unknown() -> None:
    assert format_total(None) == "-"
    assert format_total(1234567.0) == "1,234,567"
    assert all(value == "-" for _, value in build_metric_rows(None, None))


def test_deliveries_are_shown_by_outcome() -> None:
    shown = dict(build_metric_rows(StackMetrics(deliveries={"failed": 1.0, "delivered": 1200.0}), None))
    assert shown["webhooks"] == "1,200 delivered, 1 failed"


def test_without_a_terminal_plain_lines_are_written() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, soft_wrap=True))
    display.say("PostgreSQL …")
    display.ready(REACH)
    display.update(StackMetrics(messages=10), 1.0)
    display.update(StackMetrics(messages=30), 2.0)
    display.close()
    text = out.getvalue()
    assert "http://127.0.0.1:8000/docs" in text
    assert "http://127.0.0.1:8000/public" in text
    assert "vg_key" in text
    assert "20 messages/s" in text
    assert "\x1b" not in text


def test_on_a_terminal_one_table_is_kept_up_to_date() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, force_terminal=True, width=100))
    display.ready(REACH)
    display.update(StackMetrics(stored=5), 1.0)
    display.say("api ended (-9)")
    display.update(StackMetrics(stored=6), 2.0)
    display.close()
    assert "samples stored" in out.getvalue()
    assert "api ended (-9)" in out.getvalue()


def test_a_closed_pipe_disturbs_nothing() -> None:
    display = StartupScreen(PipeSafeConsole(file=ClosedPipe()))
    display.say("into the void")
    display.ready(REACH)
    display.update(StackMetrics(), 1.0)
    display.close()


KNOWN = DemoAccess("vg_demo", "operator@demo.example", "k7mq-2vxp")


def rows(text: str) -> list[str]:
    """The lines after "Ready", without their indent."""
    lines = [line.strip() for line in text.splitlines()]
    return lines[next(place for place, line in enumerate(lines) if line.startswith("Ready")) + 1 :]


def test_the_demo_is_told_once_it_is_known() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, width=200))
    display.demo = DemoAccess()
    display.ready(REACH)
    # The key is stored some milliseconds before the sign-in: both are told together.
    display.demo = DemoAccess("vg_demo")
    display.update(StackMetrics(), 1.0)
    assert "demo key" not in out.getvalue()
    assert rows(out.getvalue())[0].startswith("console         http://127.0.0.1:8000/console (the sign-in")
    display.demo = KNOWN
    display.update(StackMetrics(), 2.0)
    display.update(StackMetrics(), 3.0)
    for said in ("vg_demo", "operator@demo.example", "k7mq-2vxp", "Aberdeen, replay of 10 March 2019"):
        assert out.getvalue().count(said) == 1
    display.demo = DemoAccess("vg_demo", "operator@demo.example", None)
    display.update(StackMetrics(), 4.0)
    assert "password        the one that you chose" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_console_and_the_sign_in_stand_first(terminal: bool) -> None:  # noqa: FBT001 (a table)
    out = io.StringIO()
    display = StartupScreen(Console(file=out, force_terminal=terminal, color_system=None, width=120))
    display.demo = KNOWN
    display.ready(REACH)
    display.close()
    text = out.getvalue()
    places = [
        text.index(each)
        for each in ("8000/console", "operator@demo.example", "k7mq-2vxp", "8000/docs", "vg_key", "vg_demo")
    ]
    assert places == sorted(places)


def test_without_a_demo_it_tells_how_the_first_owner_gets_in() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, width=200), invite="vigie invite you@example.com")
    display.ready(REACH)
    assert [row.split(maxsplit=1) for row in rows(out.getvalue())[:2]] == [
        ["console", "http://127.0.0.1:8000/console"],
        ["first", "owner     vigie invite you@example.com"],
    ]


def test_without_the_api_there_is_no_console() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, width=200))
    display.ready(replace(REACH, api=None))
    assert "console" not in out.getvalue()
