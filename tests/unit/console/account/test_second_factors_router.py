"""QR codes as images of data URLs."""

import re
from urllib.parse import unquote

from app.console.account.second_factors_router import draw_qr_code


def test_a_qr_code_is_an_svg_without_scripts() -> None:
    url = draw_qr_code("otpauth://totp/Vigie:ada%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=Vigie")
    head, _, body = url.partition(",")
    assert head == "data:image/svg+xml"
    assert '"' not in body
    drawing = unquote(body)
    assert set(re.findall(r"<(\w+)", drawing)) <= {"xml", "svg", "g", "path"}
    assert drawing.rstrip().endswith("</svg>")
