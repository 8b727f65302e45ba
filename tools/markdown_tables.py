"""Renders tables of Markdown."""

from collections.abc import Sequence


def render_rows(*header: str, body: Sequence[Sequence[str]]) -> str:
    """Render a table with a header; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
