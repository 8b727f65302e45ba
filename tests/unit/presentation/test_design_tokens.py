"""The design tokens: what is written in a colour can be read on its ground, in both modes."""

import re
from pathlib import Path
from typing import Final

import pytest

from app.presentation.design_tokens import TOKENS_FILE, read_design_tokens

APP: Final = Path(__file__).parents[3] / "app"
SEVERITIES: Final = ("critical", "warning", "info", "ok", "warn")
READABLE: Final = 4.5


def colours() -> dict[str, dict[str, str]]:
    """Read the colours of each mode. Dark mode replaces some of the light ones."""
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in read_design_tokens().split("@media (prefers-color-scheme: dark)")
    )
    return {"light": light, "dark": light | dark}


def contrast(first: str, second: str) -> float:
    """Compute the contrast of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_severities_can_be_read_on_every_ground(mode: str) -> None:
    found = colours()[mode]
    for severity in SEVERITIES:
        for ground in (f"{severity}-ground", "ground", "sheet"):
            assert contrast(found[severity], found[ground]) >= READABLE, (severity, ground)
        assert contrast(found["ink"], found[f"{severity}-ground"]) >= READABLE, severity


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_texts_can_be_read_on_every_ground(mode: str) -> None:
    found = colours()[mode]
    for text in ("ink", "soft", "accent"):
        for ground in ("ground", "sheet", "chip"):
            assert contrast(found[text], found[ground]) >= READABLE, (text, ground)
    assert contrast(found["accent-ink"], found["accent"]) >= READABLE


@pytest.mark.parametrize(
    "sheet",
    ["public_register/static/register.css", "pages/static/pages.css", "reports/render/templates/style.css"],
)
def test_style_sheets_use_tokens_that_exist(sheet: str) -> None:
    defined = set(re.findall(r"(--[a-z0-9-]+):", read_design_tokens()))
    used = set(re.findall(r"var\((--[a-z0-9-]+)", (APP / sheet).read_text(encoding="utf-8")))
    assert used
    assert used <= defined


def test_tokens_load_nothing() -> None:
    assert "url(" not in read_design_tokens()
    assert "//" not in TOKENS_FILE.read_text(encoding="utf-8")
