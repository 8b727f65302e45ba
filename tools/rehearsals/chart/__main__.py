"""Renders the Helm chart, checks its manifests, and compares them with `deploy/kubernetes/vigie.yaml`.

`make rehearse-chart` (as root: it installs Debian's Go). `ARGS=--write` writes the file. Helm itself is not a
Debian package: `render.go` uses the same template engine and functions. No cluster runs the manifests here.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped] # it has no stubs
import yaml

from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages, run_command

_ROOT: Final = Path(__file__).parents[3]
CHART: Final = _ROOT / "deploy" / "helm" / "vigie"
MANIFESTS: Final = _ROOT / "deploy" / "kubernetes" / "vigie.yaml"
_PACKAGES: Final = (
    "golang-go",
    "golang-github-masterminds-sprig-dev",
    "golang-gopkg-yaml.v3-dev",
)
# Values that show what the defaults leave out.
_OTHER_VALUES: Final = (
    """
networkPolicy: {enabled: false}
ingress: {enabled: false}
settings: {VIGIE_SMTP__HOST: mail.example.com}
""",
    """
ingress: {className: nginx, annotations: {a: b}}
image: {tag: "9", pullSecrets: [one]}
broker: {queue: {storageClass: fast}}
""",
)


def hash_chart() -> str:
    """Hash the chart's files: the head of the manifests names the chart that they were made from."""
    found = hashlib.sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(CHART)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def check_manifests(text: str) -> list[str]:
    """Check manifests against the newest schemas of Kubernetes, and return their kinds and names.

    Raises:
        RehearsalError: A manifest has an unknown or a wrong field.
    """
    names = []
    for manifest in yaml.safe_load_all(text):
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            kubernetes_validate.validate(manifest, "1.37", strict=True)
        except kubernetes_validate.ValidationError as error:
            raise RehearsalError(f"{name}: {error}") from error
        names.append(name)
    return names


def main(arguments: list[str]) -> int:
    """Run; returns the exit status."""
    report = RehearsalReport()
    go = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOFLAGS": ""}
    try:
        with tempfile.TemporaryDirectory() as folder, report.step("Debian's Go, and the renderer"):
            install_packages(_PACKAGES)
            words: list[Any] = ["env", *(f"{name}={value}" for name, value in go.items())]
            program = Path(folder) / "render"
            words += [
                f"GOCACHE={folder}/cache",
                "go",
                "build",
                "-o",
                program,
                Path(__file__).with_name("render.go"),
            ]
            run_command([os.fspath(word) for word in words])
            _compare(report, program, Path(folder), write="--write" in arguments)
    except RehearsalError as error:
        if not report.failures:
            report.failures.append(str(error))
    return report.end()


def _compare(report: RehearsalReport, program: Path, folder: Path, *, write: bool) -> None:
    with report.step("the default values") as note:
        rendered = run_command([str(program), str(CHART)])
        note(f"{len(check_manifests(rendered))} manifests are valid")
    for number, values in enumerate(_OTHER_VALUES):
        with report.step(f"other values {number + 1}") as note:
            file = folder / "values.yaml"
            file.write_text(values, encoding="utf-8")
            so = run_command([str(program), str(CHART), str(file)])
            note(f"{len(check_manifests(so))} manifests are valid")
    head = (
        "# Made from deploy/helm/vigie with its default values, for clusters without Helm. Do not edit:\n"
        f"# make rehearse-chart ARGS=--write. Chart: {hash_chart()}\n"
    )
    with report.step("deploy/kubernetes/vigie.yaml"):
        if write:
            MANIFESTS.write_text(head + rendered, encoding="utf-8")
        elif MANIFESTS.read_text(encoding="utf-8") != head + rendered:
            raise RehearsalError("not made from this chart: make rehearse-chart ARGS=--write")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
