"""The client that openapi-python-client makes of the OpenAPI document does the main job on a live stack."""

import importlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openapi_python_client
import pytest
from openapi_python_client.config import Config, ConfigFile, MetaType

from app.settings import VigieSettings
from tests.integration.notifications.receivers import receiving, status
from tests.openapi import openapi_document
from tests.scenarios.processes import role, serving, until

# As docs/api.md says: what the generator does not know of itself is sent as it is.
SENT_AS_IT_IS = dict.fromkeys(
    [
        *("text/csv", "application/cbor", "application/senml+json", "application/x-ndjson"),
        *(
            "application/geo+json",
            "application/vnd.apache.parquet",
            "application/vnd.apache.arrow.stream",
            "application/atom+xml",
        ),
    ],
    "application/octet-stream",
)
PACKAGE = "vigie_client"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated package, importable as `vigie_client` while this module's tests run."""
    folder = tmp_path_factory.mktemp("generated")
    document = folder / "openapi.json"
    document.write_text(json.dumps(openapi_document()))
    config = Config.from_sources(
        # Formatting is for who reads the code.
        ConfigFile(content_type_overrides=SENT_AS_IT_IS, post_hooks=[]),
        MetaType.NONE,
        document_source=document,
        file_encoding="utf-8",
        overwrite=True,
        output_path=folder / PACKAGE,
    )
    complaints = openapi_python_client.generate(config=config)
    assert [f"{found.header}: {found.detail}" for found in complaints] == []
    return folder / PACKAGE


class Generated:
    """The generated package's parts by name: it is not there yet when types are checked."""

    def __init__(self) -> None:
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")
        self.package: Any = importlib.import_module(PACKAGE)

    async def call(self, tag: str, operation: str, client: object, **arguments: object) -> Any:  # noqa: ANN401 (a generated model)
        """Call an operation: what it answers with, which must not be a problem."""
        module: Any = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
        answer = await module.asyncio(client=client, **arguments)
        assert not isinstance(answer, self.models.Problem), answer
        return answer


@pytest.fixture
def generated(package: Path, monkeypatch: pytest.MonkeyPatch) -> Generated:
    monkeypatch.syspath_prepend(package.parent)
    return Generated()


def test_every_operation_is_generated(package: Path) -> None:
    paths = openapi_document()["paths"]
    wanted = {operation["operationId"] for item in paths.values() for operation in item.values()}
    made = {file.stem for file in (package / "api").rglob("*.py")} - {"__init__"}
    assert made == wanted


def test_models_have_names_that_people_would_choose(package: Path) -> None:
    names = {file.stem for file in (package / "models").glob("*.py")}
    assert {"site_page", "telemetry", "sample", "severity", "scope", "event_name"} <= names
    assert [
        name for name in names if name.startswith(("body_", "page_")) or name.endswith(("_input", "_output"))
    ] == []
    members = [file.name for file in (package / "models").glob("*.py") if " VALUE_0 = " in file.read_text()]
    assert members == [], "enumerations whose members have no names"


@pytest.fixture
async def url(settings: VigieSettings, tmp_path: Path) -> AsyncIterator[str]:
    """A live stack: the API and the dispatcher as processes."""
    assert settings.bootstrap_admin_key is not None
    async with serving(tmp_path) as address, role("deliver", tmp_path):
        yield address


async def test_the_main_job(generated: Generated, url: str, admin_key: str) -> None:
    models, call = generated.models, generated.call
    signed_in = generated.package.AuthenticatedClient
    async with signed_in(url, admin_key) as admin:
        body = models.OrganisationCreate("Ville de Toulouse")
        organisation = await call("organisations", "create_organisation", admin, body=body)
        wanted = models.KeyCreate("dashboard", [models.Scope.ALL], organisation_id=organisation.id)
        key = await call("organisations", "create_api_key", admin, body=wanted)

    async with receiving(status(204)) as receiver, signed_in(url, key.key) as client:
        place = models.Point("Point", [1.4453, 43.6045])
        site = await call(
            "sites",
            "create_site",
            client,
            body=models.SiteCreate("Rue d'Alsace", "street", "Europe/Paris", place),
        )
        box = await call("boxes", "create_box", client, body=models.BoxCreate("street-1", site.id))
        assert box.credentials.username == "street-1"
        condition = models.ThresholdCondition(
            models.MetricName.PM2_5, models.ThresholdConditionOperator.ABOVE, 25.0, clear=20.0
        )
        rule = models.RuleCreate(site.id, "Fine dust", severity=models.Severity.WARNING, condition=condition)
        made = await call("rules", "create_rule", client, body=rule)
        assert isinstance(made.condition, models.ThresholdCondition)
        webhook = await call(
            "webhooks",
            "create_webhook",
            client,
            body=models.EndpointCreate(receiver.url, events=[models.EventName.ALERT_FIRING]),
        )

        values = models.SampleValues.from_dict({"pm2_5": 31.2})
        sample = models.Sample(datetime.now(UTC) - timedelta(minutes=1), values)
        outcome = await call(
            "telemetry", "post_telemetry", client, body=models.Telemetry("street-1", [sample])
        )
        assert (outcome.stored, outcome.rejected) == (1, 0)
        latest = await call("readings", "get_box_latest", client, box="street-1")
        assert latest.values.to_dict() == {"pm2_5": 31.2}

        firing = await call("alerts", "list_alerts", client, state=models.AlertState.FIRING, site=site.id)
        (alert,) = firing.data
        assert (alert.rule_id, alert.severity, alert.acknowledged_at) == (
            made.id,
            models.Severity.WARNING,
            None,
        )
        taken = await call(
            "alerts", "acknowledge_alert", client, alert_id=alert.id, body=models.Remark("On the way")
        )
        assert isinstance(taken.acknowledged_at, datetime)

        async def delivered() -> list[Any]:
            page = await call(
                "webhooks", "list_deliveries", client, webhook=webhook.id, state=models.State.DELIVERED
            )
            found: list[Any] = page.data
            return found

        (delivery,) = await until(delivered)
        assert delivery.type_ == "alert.firing"
        (attempt,) = delivery.attempts
        assert attempt.status == 204
        assert json.loads(receiver.got[0].body)["data"]["alert_id"] == str(alert.id)
