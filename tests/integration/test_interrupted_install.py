"""deploy/install.sh after a power cut while it installs packages, with the real dpkg."""

import fcntl
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class System:
    """Files of Debian that the script changes while it installs packages, and an unconfigured package."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> "System":
        (folder / "dpkg/info").mkdir(parents=True)
        (folder / "dpkg/updates").mkdir()
        (folder / "dpkg/status").touch()
        (folder / "package/DEBIAN").mkdir(parents=True)
        (folder / "package/DEBIAN/control").write_text(
            "Package: probe\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: a\n"
        )
        system = cls(
            folder,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "DPKG_ROOT": str(folder),
                "DPKG_ADMINDIR": str(folder / "dpkg"),
                "DPKG_FORCE": "not-root,script-chrootless",
            },
        )
        script = folder / "package/DEBIAN/postinst"
        script.write_text(f"#!/bin/sh\ncat {system.policy} {system.clusters} >{folder}/seen\n")
        script.chmod(0o755)
        system.run(
            "dpkg-deb", "--build", "--root-owner-group", str(folder / "package"), str(folder / "probe.deb")
        )
        system.run("dpkg", "--unpack", str(folder / "probe.deb"))
        text = (ROOT / "deploy/install.sh").read_text()
        for there, here in (
            ("/usr/sbin/policy-rc.d", system.policy),
            ("/etc/postgresql-common/createcluster.conf", system.clusters),
            ("/run/lock/vigie-install", system.lock),
            ('"$(id -u)"', '"0"'),
        ):
            assert there in text
            text = text.replace(there, str(here))
        system.script.write_text(text)
        return system

    @property
    def script(self) -> Path:
        return self.folder / "install.sh"

    @property
    def policy(self) -> Path:
        return self.folder / "policy-rc.d"

    @property
    def clusters(self) -> Path:
        return self.folder / "createcluster.conf"

    @property
    def saved(self) -> Path:
        return self.folder / "createcluster.conf.before-vigie"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def state(self) -> str:
        """The state of the package."""
        (line,) = [
            each for each in (self.folder / "dpkg/status").read_text().splitlines() if "Status:" in each
        ]
        return line.split()[-1]

    def run(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        return done.stdout

    def interrupt(self) -> None:
        """Leave what a power cut leaves while packages are installed."""
        self.policy.write_text("#!/bin/sh\n# made by Vigie while it installs packages\n# probe\nexit 101\n")
        self.saved.write_text("ssl = on\n")
        self.clusters.write_text("ssl = on\n\ncreate_main_cluster = false\n")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System.make(tmp_path)


def test_an_interrupted_run_is_completed_by_the_next_one(system: System) -> None:
    assert system.state == "unpacked"
    system.interrupt()
    said = system.run("sh", str(system.script), "--system")
    assert "Interrupted packages: done in" in said
    assert system.state == "installed"
    # Its services were not started, and no cluster was made.
    seen = (system.folder / "seen").read_text()
    assert seen.startswith("#!/bin/sh\n# made by Vigie")
    assert "exit 101\n" in seen
    assert seen.endswith("ssl = on\n\ncreate_main_cluster = false\n")
    assert not system.policy.exists()
    assert not system.saved.exists()
    assert system.clusters.read_text() == "ssl = on\n"
    assert system.run("sh", str(system.script), "--system") == ""


def test_a_run_that_still_installs_packages_is_not_disturbed(system: System) -> None:
    system.interrupt()
    with system.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(["sh", str(system.script), "--system"], env=system.environment)  # noqa: S603, S607
        waiting = psutil.Process(process.pid)
        for _ in range(600):
            assert process.poll() is None
            if any(each.name() == "flock" for each in waiting.children()):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("it does not wait")
        assert system.policy.exists()
        assert system.saved.exists()
        # The other run ends.
        system.policy.unlink()
        system.saved.replace(system.clusters)
    assert process.wait(60) == 0
    assert system.state == "unpacked"
