import pytest

from app.platform.kernel.ip_addresses import make_address_subject


@pytest.mark.parametrize(
    ("host", "subject"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3::4", "address:2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        (None, "address:unknown"),
        ("x" * 100, f"address:{'x' * 64}"),
    ],
)
def test_an_address_is_counted_by_who_has_it(host: str | None, subject: str) -> None:
    assert make_address_subject(host) == subject
