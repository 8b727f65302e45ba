import re

from app.console.fleet.claim_labels import draw_qr_code


def test_a_code_is_a_picture_without_text_or_styles() -> None:
    content = 'https://vigie.example.com/console/register#"><script>'
    picture = draw_qr_code(content)
    assert re.fullmatch(
        r'<svg viewBox="0 0 \d+ \d+" class="qr">(<path [a-z]+="#[0-9a-f]+" d="[\w .-]+"/>)+</svg>', picture
    )
