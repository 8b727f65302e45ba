"""Writes the list of components (CycloneDX 1.6): `uv run python -m tools.supply_chain.sbom`.

The same sources make the same bytes: the document has no time unless SOURCE_DATE_EPOCH is set, and its serial
number is a hash of its content.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from jsonschema_rs import Draft7, Draft7Validator, Registry
from packageurl import PackageURL

from tools.supply_chain.components import (
    PROJECT,
    ROOT,
    ComponentError,
    ComponentInfo,
    collect_components,
    read_direct_needs,
    read_version,
)
from tools.supply_chain.licences import LicenceError, LicencePolicy

_TYPES: Final = {
    "pypi": ComponentType.LIBRARY,
    "npm": ComponentType.LIBRARY,
    "deb": ComponentType.APPLICATION,
    "data": ComponentType.DATA,
    "part": ComponentType.LIBRARY,
}
_SCHEMA_FOLDER: Final = "http://cyclonedx.org/schema/"
_SCHEMAS: Final = tuple(
    f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.6", "spdx", "jsf-0.82", "cryptography-defs")
)
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "pkg:pypi/vigie")


def build_sbom(version: str, components: Sequence[ComponentInfo], direct: Iterable[str]) -> Bom:
    """Build the list of components with their dependencies."""
    product = Component(
        name=PROJECT,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=f"pkg:pypi/{PROJECT}@{version}",
        purl=PackageURL.from_string(f"pkg:pypi/{PROJECT}@{version}"),
        licenses=[LicenseExpression("Apache-2.0")],
        description="Smart- and safe-city IoT ingestion backend",
        supplier=OrganizationalEntity(name="The maintainers of Vigie"),
    )
    bom = Bom(metadata=BomMetaData(component=product), components=map(_build_component, components))
    by_name = {each.name: each for each in bom.components}
    needs = {each.name: each.needs for each in components}
    others = [each.name for each in components if each.kind != "pypi"]
    bom.register_dependency(product, [by_name[name] for name in {*direct, *others}])
    for name, needed in needs.items():
        bom.register_dependency(by_name[name], [by_name[each] for each in needed])
    # The serial number is a hash of the content with a fixed number, instead of a random one.
    bom.serial_number = _NAMESPACE
    bom.serial_number = uuid.uuid5(_NAMESPACE, hashlib.sha256(_render(bom).encode()).hexdigest())
    return bom


def render_sbom(bom: Bom) -> str:
    """Render the list as JSON, with a line end."""
    return f"{_render(bom)}\n"


def validate_sbom(text: str) -> Iterator[str]:
    """Yield violations of the schema of CycloneDX 1.6: unknown fields, unknown licences, wrong forms."""
    for fault in _load_validator().iter_errors(json.loads(text)):
        yield f"{'/'.join(map(str, fault.instance_path))}: {fault.message}"


@cache
def _load_validator() -> Draft7Validator:
    # The library's own validator takes 40 ms for one address, and there are hundreds.
    folder = files("cyclonedx") / "schema/_res"
    schema, *others = (json.loads((folder / name).read_text("utf-8")) for name in _SCHEMAS)
    # The schemas refer to each other by these file names, not by their own `$id`.
    resources = [(f"{_SCHEMA_FOLDER}{name}", each) for name, each in zip(_SCHEMAS[1:], others, strict=True)]
    registry = Registry(resources, draft=Draft7)
    return Draft7Validator(schema, registry=registry, validate_formats=True, offline=True)


def make_sbom() -> str:
    """Collect the components, check their licences, and return the valid list.

    Raises:
        ComponentError: A component cannot be described, or the list is not valid.
        LicenceError: A licence is unknown or not allowed.
    """
    policy = LicencePolicy.read()
    components = collect_components(policy)
    for each in components:
        for one in (each, *each.parts):
            policy.check(one.name, one.kind, one.licence)
    text = render_sbom(build_sbom(read_version(), components, read_direct_needs()))
    if faults := list(validate_sbom(text)):
        raise ComponentError(f"The list violates the schema of CycloneDX 1.6: {faults[0]}")
    return text


def _render(bom: Bom) -> str:
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    # CycloneDX needs no time, and the library always sets one.
    del content["metadata"]["timestamp"]
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        content["metadata"]["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).isoformat()
    # Sorted: the library's own order of some lists depends on hashes.
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)


def _build_component(info: ComponentInfo, owner: str = "") -> Component:
    return Component(
        name=info.name,
        version=info.version,
        type=_TYPES[info.kind],
        bom_ref=f"{owner}{info.key}",
        purl=PackageURL.from_string(info.purl) if info.purl else None,
        scope=ComponentScope.REQUIRED,
        licenses=[_build_licence(info.licence)],
        description=info.use or None,
        hashes=_list_hashes(info),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(url),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
            for url, digest in info.sha256.items()
        ],
        properties=[Property(name="vigie:kind", value=info.kind)],
        components=[_build_component(part, f"{info.key}#") for part in info.parts],
    )


def _build_licence(licence: str) -> License:
    return LicenseExpression(licence)


def _list_hashes(info: ComponentInfo) -> list[HashType]:
    if not info.sha512:
        return []
    return [HashType(alg=HashAlgorithm.SHA_512, content=base64.b64decode(info.sha512).hex())]


def main() -> int:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="default: dist/vigie-VERSION.cdx.json")
    output = parser.parse_args().output or ROOT / "dist" / f"vigie-{read_version()}.cdx.json"
    try:
        text = make_sbom()
    except (ComponentError, LicenceError) as error:
        sys.stderr.write(f"sbom: {error}\n")
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{output}: {len(json.loads(text)['components'])} components, valid CycloneDX 1.6\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
