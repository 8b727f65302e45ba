"""Draws QR codes as SVG for labels. Pure."""

import segno
from markupsafe import Markup


def draw_qr_code(content: str) -> Markup:
    """Draw a QR code that scales with its element: black modules on white, without styles of its own."""
    code = segno.make_qr(content, error="m")
    # The library escapes nothing of `content` into the picture: it holds modules only.
    return Markup(code.svg_inline(border=2, omitsize=True, svgclass="qr", lineclass=None, light="#fff"))  # noqa: S704
