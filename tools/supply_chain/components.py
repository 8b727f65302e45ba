"""Collects the components of Vigie: Python packages, browser scripts, Debian packages, data.

Python packages are those that `uv.lock` installs on Debian 13, without groups of developers. Their licences
and compiled-in parts come from the installed packages (PEP 639, PEP 770).
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, Literal

from packaging.markers import Marker

from tools.supply_chain.licences import LicencePolicy
from tools.vendored_packages import VENDORED_PACKAGES

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = "vigie"
# Markers of the lock file are evaluated for the system of a server, whichever machine runs this program.
_DEBIAN: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.5",
    "python_version": "3.13",
    "sys_platform": "linux",
}
# Wheels that a server can install; the lock file names those of other systems too.
_WHEELS: Final = re.compile(r"-(any|manylinux[0-9a-z_.]+)\.whl$")
_DISTRO: Final = "debian-13"

type ComponentKind = Literal["pypi", "npm", "deb", "data", "part"]


class ComponentError(Exception):
    """A component cannot be described; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentInfo:
    """One component.

    Attributes:
        kind: Where it comes from; `part`: compiled into another one.
        name: Its name there.
        version: Its version; None: that of the machine (Debian packages).
        licence: The SPDX expression of its licence.
        use: What Vigie needs it for; empty for packages that others need.
        purl: Its package URL; empty for data.
        sha256: Hashes of its files, by URL or file name.
        sha512: The hash of its archive.
        needs: The names of the packages that it needs.
        parts: Components that are compiled into it.
    """

    kind: ComponentKind
    name: str
    version: str | None
    licence: str
    use: str = ""
    purl: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    sha512: str = ""
    needs: Sequence[str] = ()
    parts: Sequence["ComponentInfo"] = ()

    @property
    def key(self) -> str:
        """Its key among the components of Vigie."""
        return f"{self.kind}:{self.name}@{self.version or _DISTRO}"


def read_version() -> str:
    """Return the version of Vigie that the project file names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def collect_components(policy: LicencePolicy) -> list[ComponentInfo]:
    """Collect all components, in the order of kind and name.

    Raises:
        ComponentError: A package is not installed, or states no licence.
    """
    collected = [
        *collect_python_packages(policy),
        *_collect_scripts(),
        *_collect_listed(tomllib.loads((ROOT / "security/components.toml").read_text(encoding="utf-8"))),
    ]
    return sorted(collected, key=lambda each: (each.kind, each.name))


def read_direct_needs() -> list[str]:
    """Return the names of the Python packages that Vigie itself imports."""
    return [each["name"] for each in _list_needs(_read_lock()[PROJECT], ())]


def collect_python_packages(policy: LicencePolicy) -> Iterator[ComponentInfo]:
    """Collect the Python packages that Vigie runs with."""
    locked = _read_lock()
    extras: dict[str, set[str]] = {}
    todo: list[tuple[str, list[str]]] = [(PROJECT, [])]
    while todo:
        name, added = todo.pop()
        if name in extras and extras[name].issuperset(added):
            continue
        extras.setdefault(name, set()).update(added)
        todo += [(each["name"], each.get("extra", [])) for each in _list_needs(locked[name], added)]
    del extras[PROJECT]
    for name, wanted in extras.items():
        package = locked[name]
        found = _find_distribution(name, package["version"])
        files = [each for each in package.get("wheels", ()) if _WHEELS.search(each["url"])]
        files += [package["sdist"]] if "sdist" in package else []
        yield ComponentInfo(
            kind="pypi",
            name=name,
            version=package["version"],
            licence=policy.find_licence(name, found),
            purl=f"pkg:pypi/{name}@{package['version']}",
            sha256={each["url"]: each["hash"].removeprefix("sha256:") for each in files},
            needs=sorted({each["name"] for each in _list_needs(package, sorted(wanted))}),
            parts=sorted(_collect_parts(policy, name, found), key=lambda each: each.key),
        )


def _read_lock() -> dict[str, dict[str, Any]]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return {package["name"]: package for package in lock["package"]}


def _list_needs(package: Mapping[str, Any], extras: Sequence[str]) -> list[dict[str, Any]]:
    optional = package.get("optional-dependencies", {})
    needs = [*package.get("dependencies", ())]
    for extra in extras:
        needs += optional.get(extra, ())
    return [each for each in needs if "marker" not in each or Marker(each["marker"]).evaluate(dict(_DEBIAN))]


def _find_distribution(name: str, version: str) -> Distribution:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise ComponentError(f"{name} is not installed. Run `uv sync --frozen`, then try again") from None
    if found.version != version:
        raise ComponentError(
            f"{name} {found.version} is installed, and uv.lock names {version}. Run `uv sync --frozen`"
        )
    return found


def _collect_parts(policy: LicencePolicy, name: str, found: Distribution) -> Iterator[ComponentInfo]:
    """Collect what a wheel's own list of parts names (PEP 770)."""
    seen: set[tuple[str, str]] = set()
    for file in found.files or ():
        if file.parent.name != "sboms" or file.suffix != ".json":
            continue
        for part in json.loads(file.read_text(encoding="utf-8")).get("components", ()):
            key = (part["name"], str(part.get("version", "")))
            # Lists name the package itself and its modules too, and tools that only its build needs.
            itself = part.get("purl", "").startswith(f"pkg:pypi/{name}@")
            if itself or part.get("scope") == "excluded" or key in seen or policy.is_absent(name, key[0]):
                continue
            seen.add(key)
            yield ComponentInfo(
                kind="part",
                name=key[0],
                version=key[1] or None,
                licence=policy.find_part_licence(name, part),
                # Addresses in it are those of the machine that built the wheel.
                purl=re.sub(r"\?.*", "", part.get("purl", "")),
            )


def _collect_scripts() -> Iterator[ComponentInfo]:
    for package in VENDORED_PACKAGES:
        yield ComponentInfo(
            kind="npm",
            name=package.name,
            version=package.version,
            licence=package.licence,
            use="Pages load it; its files are in the package of Vigie",
            purl=f"pkg:npm/{package.name}@{package.version}",
            sha512=package.integrity.removeprefix("sha512-"),
        )


def _collect_listed(listed: Mapping[str, Any]) -> Iterator[ComponentInfo]:
    for each in listed["deb"]:
        yield ComponentInfo(
            kind="deb",
            name=each["name"],
            version=None,
            licence=each["licence"],
            use=each["use"],
            purl=f"pkg:deb/debian/{each['name']}?distro={_DISTRO}",
        )
    for each in listed["data"]:
        if not (ROOT / each["path"]).exists():
            raise ComponentError(f"security/components.toml names {each['path']}, which is not there")
        yield ComponentInfo(
            kind="data",
            name=each["name"],
            version=each["version"],
            licence=each["licence"],
            use=f"{each['use']} (`{each['path']}`)",
        )
