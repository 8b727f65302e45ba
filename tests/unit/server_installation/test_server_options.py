from dataclasses import replace
from pathlib import Path

import pytest

from app.server_installation.server_options import ServerOptions, read_options, render_options
from app.standalone.unprivileged_accounts import StandaloneError


def test_options_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    options = ServerOptions("vigie.example.com", "/a/b.pem", "/a/k.pem", 9000, 1884, 8884, 4)
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
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, str | int], said: str) -> None:
    ServerOptions().check()
    with pytest.raises(StandaloneError, match=said):
        replace(ServerOptions(), **changes).check()  # type: ignore[arg-type]
