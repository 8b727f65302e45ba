import io

from rich.console import Console

from app.standalone.data_directory import StackAddresses
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


def test_the_demo_key_is_told_once_it_is_known() -> None:
    out = io.StringIO()
    display = StartupScreen(Console(file=out, width=200))
    display.ready(REACH)
    display.update(StackMetrics(), 1.0)
    assert "demo key" not in out.getvalue()
    display.demo_key = "vg_demo"
    display.update(StackMetrics(), 2.0)
    display.update(StackMetrics(), 3.0)
    assert out.getvalue().count("vg_demo") == 1
    assert out.getvalue().count("Aberdeen, replay of 10 March 2019") == 1
