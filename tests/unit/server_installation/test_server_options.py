from dataclasses import replace
from pathlib import Path

import pytest

from app.server_installation.server_options import ServerOptions, read_options, render_options
from app.standalone.unprivileged_accounts import StandaloneError

LOG = {
    "edge": "a",
    "edge_host": "10.0.0.1",
    "log_servers": "10.0.0.1:4222",
    "database_hosts": "10.0.0.1:5432,10.0.0.2:5432",
}


def test_options_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    options = ServerOptions(
        *("vigie.example.com", "/a/b.pem", "/a/k.pem", 9000, 1884, 8884, 4),
        *("edge-a", "10.0.0.1", "10.0.0.1:4222", "10.0.0.1:5432", "10.0.0.9"),
    )
    path = tmp_path / "server.toml"
    assert read_options(path, options) == options
    path.write_text(render_options(options))
    assert read_options(path, ServerOptions()) == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae = 'x'", "no option is named nmae; the options are name, certificate"),
        ("workers = 'two'", "workers must be a number"),
        ("name = 7", "name must be a text"),
        ("name =", "cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(StandaloneError, match=said) as caught:
        read_options(path, ServerOptions())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "https://vigie.example.com"}, "give a host name"),
        ({"name": "a;b"}, "give a host name"),
        ({"certificate": "/a"}, "belong together"),
        ({"certificate": "/a", "key": "/b"}, "--certificate needs --name"),
        ({"name": "x.example", "certificate": "a.pem", "key": "/b"}, "absolute path"),
        ({"mqtt_port": 8000}, "must differ"),
        ({"mqtts_port": 8003}, "must differ"),
        ({"api_port": 0}, "numbers from 1"),
        ({"mqtt_port": 70_000}, "numbers from 1"),
        ({"workers": 0}, "at least 1"),
        ({**LOG, "mqtts_port": 8004}, r"--api-port \(and the 4 ports after it\)"),
        ({"edge": "a"}, "belong together"),
        ({"log_servers": "10.0.0.1:4222"}, "belong together"),
        ({**LOG, "database_hosts": ""}, "--edge needs --database-hosts"),
        ({**LOG, "edge": "a,b"}, "up to 64 letters"),
        ({**LOG, "edge_host": "10.0.0.1:1883"}, "--edge-host 10.0.0.1:1883: give an address"),
        ({**LOG, "log_servers": "10.0.0.1"}, "--log-servers 10.0.0.1: give host:port"),
        ({"database_hosts": "10.0.0.1:5432 10.0.0.2:5432"}, "--database-hosts .*: give host:port"),
        ({"load_balancer": "10.0.0.9"}, "--load-balancer needs --edge"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, str | int], said: str) -> None:
    ServerOptions().check()
    replace(ServerOptions(), **LOG).check()  # type: ignore[arg-type]
    with pytest.raises(StandaloneError, match=said):
        replace(ServerOptions(), **changes).check()  # type: ignore[arg-type]


def test_without_an_edge_its_metrics_need_no_port() -> None:
    options = ServerOptions(api_port=8100, mqtt_port=8104)
    options.check()
    with pytest.raises(StandaloneError, match="must differ"):
        replace(options, **LOG).check()  # type: ignore[arg-type]
    with pytest.raises(StandaloneError, match=r"--api-port \(and the 3 ports after it\)"):
        replace(options, mqtt_port=8103).check()
