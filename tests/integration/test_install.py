"""deploy/install.sh against a package index that a private certificate authority vouches for.

As in a network that inspects TLS: without the authority nothing can be downloaded. The index, its one package
and the project that wants it are made here; uv, make and the shell are the real ones.
"""

import base64
import hashlib
import os
import pty
import re
import ssl
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
import trustme
from typer.testing import CliRunner

from app.processes.cli import app

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "vigie_probe"
SLOW_S: Final = 1.2
"""So long a download takes that there is something to show."""
WHEEL: Final = f"{PACKAGE}-1.0-py3-none-any.whl"


def make_wheel(path: Path) -> None:
    """The smallest package that can be installed."""
    info = f"{PACKAGE}-1.0.dist-info"
    files = {
        f"{PACKAGE}.py": "HERE = True\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for name, text in files.items()
    }
    record = "".join(f"{name},sha256={digests[name]},{len(text)}\n" for name, text in files.items())
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(name, text)


@dataclass(frozen=True, slots=True)
class Project:
    """A clone that lacks its Python environment, and the authority without which it cannot have one."""

    root: Path
    authority: Path
    environment: dict[str, str]

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "deploy/install.sh", *options)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  # what this test says itself
            words,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def installed(self) -> bool:
        return any(self.root.glob(f".venv/lib/python3*/site-packages/{PACKAGE}.py"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    pages = tmp_path / "pages"
    folder = pages / "simple" / PACKAGE.replace("_", "-")
    folder.mkdir(parents=True)
    make_wheel(pages / WHEEL)
    digest = hashlib.sha256((pages / WHEEL).read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="/{WHEEL}#sha256={digest}">{WHEEL}</a>')
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(pages))  # type: ignore[arg-type]  # as it is called

        def do_GET(self) -> None:
            if self.path.endswith(WHEEL):
                time.sleep(SLOW_S)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    root = tmp_path / "a clone"
    (root / "deploy").mkdir(parents=True)
    for name in ("deploy/install.sh", "Makefile"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    (root / "pyproject.toml").write_text(
        f'[project]\nname = "clone"\nversion = "1"\nrequires-python = ">=3.12"\n'
        f'dependencies = ["{PACKAGE}"]\n[tool.uv]\npackage = false\n'
    )
    foreign = ("SSL_", "UV_", "PIP_", "NODE_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "CA")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": f"https://localhost:{server.server_port}/simple",
        "UV_HTTP_RETRIES": "0",
    }
    subprocess.run(
        ["uv", "lock", "--quiet"],  # noqa: S607  # the one that installs
        cwd=root,
        env={
            **environment,
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            "UV_CACHE_DIR": str(tmp_path / "other"),
        },
        check=True,
    )
    yield Project(root, tmp_path / "ca.pem", environment)
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_authority_of_ones_own_is_handed_over(project: Project) -> None:
    refused = project.install()
    assert refused.returncode == 1
    assert not project.installed
    # Where all of it is, and what helps.
    log = Path(refused.stderr.split("the full output is in ")[1].splitlines()[0])
    assert "certificate" in log.read_text().lower()
    assert "make install CA=/path/ca.pem" in refused.stderr
    log.unlink()
    log.parent.rmdir()
    done = project.install("--ca", str(project.authority))
    assert (done.returncode, done.stderr) == (0, "")
    assert project.installed
    assert "Python packages: done in" in done.stdout
    # One line when it begins and one when it is over; another run says nothing.
    assert len(done.stdout.splitlines()) == 2
    again = project.install()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_make_hands_it_on(project: Project) -> None:
    done = project.run("make", "install", f"CA={project.authority}")
    assert done.returncode == 0, done.stderr
    assert project.installed


def test_a_relative_path_is_one_of_where_it_was_typed(project: Project) -> None:
    (project.root / "own.pem").write_bytes(project.authority.read_bytes())
    assert project.install("--ca", "own.pem").returncode == 0
    assert project.installed


def install_in_terminal(project: Project) -> bytes:
    """What a terminal is sent while everything is installed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603  # what this test says itself
        ["sh", "deploy/install.sh", "--ca", str(project.authority)],  # noqa: S607
        cwd=project.root,
        env=project.environment,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    assert process.wait(60) == 0
    return shown


def test_a_terminal_sees_one_line_that_is_kept_up_to_date(project: Project) -> None:
    shown = install_in_terminal(project)
    assert b"\r\x1b[KPython packages ... 0 s" in shown
    assert b"\r\x1b[KPython packages ... 1 s" in shown
    assert b"Python packages: done in" in shown
    assert shown.count(b"\n") == 1


def test_a_step_shows_no_line_of_the_one_before(project: Project) -> None:
    guides = project.root / "tools" / "guides"
    guides.mkdir(parents=True)
    (guides / "stamp.py").write_text("raise SystemExit(1)\n")
    (guides / "__main__.py").write_text(
        "import time\ntime.sleep(0.5)\nprint('page 1', flush=True)\ntime.sleep(0.7)\n"
    )
    lines = re.findall(rb"Guides \.\.\. \d+ s  ([^\r\n]*)", install_in_terminal(project))
    assert set(lines) == {b"", b"page 1"}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "no such file, or not readable"),
        ("der", "openssl x509 -inform der"),
        ("broken", "its certificate cannot be read"),
        ("key", "name a file with the certificate only"),
    ],
)
def test_what_is_no_certificate_is_refused_with_what_to_do(
    project: Project, tmp_path: Path, kind: str, reason: str
) -> None:
    pem = project.authority.read_text()
    content = {
        "der": ssl.PEM_cert_to_DER_cert(pem),
        "broken": b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
        "key": pem.encode() + trustme.CA().private_key_pem.bytes(),
    }
    file = tmp_path / f"{kind}.pem"
    if kind in content:
        file.write_bytes(content[kind])
    refused = project.install("--ca", str(file))
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert not project.installed


def test_a_server_is_an_installation_of_its_own(project: Project) -> None:
    done = project.install("--tests", "--server", "--dry-run")
    assert done.returncode == 1
    assert "--server is an installation of its own: leave out --system and --tests" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="installs a server, which only root may")
def test_a_dry_run_of_a_server_changes_nothing(project: Project) -> None:
    """A program of the clone prints the changes; neither a release nor the link to it is made."""
    (project.root / "app").mkdir()
    (project.root / "app/__main__.py").write_text(
        f"import sys, {PACKAGE}\nprint('program:', *sys.argv[1:])\n"
    )
    current = Path("/opt/vigie/current")
    before = (current.parent.exists(), current.is_symlink() and current.readlink())
    options = ("--server", "--dry-run", "--name", "city.example.org")
    done = project.install("--ca", str(project.authority), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "release          would install /opt/vigie/releases/1" in done.stdout
    assert "would point /opt/vigie/current to /opt/vigie/releases/1" in done.stdout
    assert done.stdout.endswith("program: install --server --dry-run --name city.example.org\n")
    assert (current.parent.exists(), current.is_symlink() and current.readlink()) == before
    assert not project.installed
    assert not (project.root / "app/__pycache__").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="installs a server, which only root may")
def test_the_files_of_a_release_are_on_the_disk_before_it_counts_as_installed(
    project: Project, tmp_path: Path
) -> None:
    script = project.root / "deploy/install.sh"
    script.write_text(script.read_text().replace("/opt/vigie", f"{tmp_path}/opt"))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sync").write_text(f'#!/bin/sh\nls "$2" >"{tmp_path}/synced"\nexec /usr/bin/sync "$@"\n')
    (programs / "sync").chmod(0o755)
    project.environment["PATH"] = f"{programs}:{project.environment['PATH']}"
    done = project.install("--ca", str(project.authority), "--server")
    release = tmp_path / "opt/releases/1"
    assert (release / "installed").exists(), done.stderr
    assert {*(tmp_path / "synced").read_text().split()} == {
        each.name for each in release.iterdir() if each.name != "installed" and not each.name.startswith(".")
    }


def test_a_server_is_installed_by_root_with_options_that_exist() -> None:
    result = CliRunner().invoke(app, ["install", "--server", "--certificate", "/a.pem", "--dry-run"])
    assert result.exit_code == 1
    assert "--certificate and --key belong together: give both, or neither" in result.stderr
    result = CliRunner().invoke(app, ["install"])
    assert result.exit_code == 2
    assert "name what to install: `vigie install --server`" in result.stderr
