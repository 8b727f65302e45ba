import pytest

from app.platform.db.primary_connection import split_hosts


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("postgresql://a:b@h:1/d", ["postgresql://a:b@h:1/d"]),
        ("postgresql://a:x,y@h:1/d?p=1,2", ["postgresql://a:x,y@h:1/d?p=1,2"]),
        ("postgresql:///d?host=/run/postgresql", ["postgresql:///d?host=/run/postgresql"]),
        (
            "postgresql://a:b@db1:1,db2/d?sslmode=verify-full",
            ["postgresql://a:b@db1:1/d?sslmode=verify-full", "postgresql://a:b@db2/d?sslmode=verify-full"],
        ),
        ("postgresql://[::1]:1,[::2]:2/d", ["postgresql://[::1]:1/d", "postgresql://[::2]:2/d"]),
        ("postgresql://a@db1,/d", ["postgresql://a@db1/d"]),
    ],
)
def test_each_host_has_an_address(url: str, urls: list[str]) -> None:
    assert split_hosts(url) == urls
