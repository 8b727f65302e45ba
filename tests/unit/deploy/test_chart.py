"""The manifests of the chart: made from it, valid, and every pod without rights that it does not need."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tools.rehearsals.chart.__main__ import MANIFESTS, check_manifests, hash_chart
from tools.rehearsals.report import RehearsalError


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFESTS.read_text()))


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in manifests:
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def test_the_manifests_were_made_from_this_chart() -> None:
    assert hash_chart() in MANIFESTS.read_text(), "make rehearse-chart ARGS=--write"


def test_kubernetes_knows_every_field() -> None:
    assert len(check_manifests(MANIFESTS.read_text())) > 20
    with pytest.raises(RehearsalError, match="replica_count"):
        check_manifests(MANIFESTS.read_text().replace("replicas: 2", "replica_count: 2"))


def test_pods_have_no_rights(manifests: list[dict[str, Any]]) -> None:
    found = dict(pods(manifests))
    assert set(found) == {"vigie-api", "vigie-ingest", "vigie-deliver", "vigie-broker", "vigie-migrate"}
    for name, pod in found.items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            if name != "vigie-migrate":
                assert {"startupProbe", "livenessProbe"} <= set(container), name


def test_no_container_sees_processes_of_another(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        assert not {"shareProcessNamespace", "hostPID"} & set(pod), name
    (maintain,) = (each for each in dict(pods(manifests))["vigie-broker"]["containers"] if "args" in each)
    variables = {each["name"]: each.get("value") for each in maintain["env"]}
    assert variables["VIGIE_BROKER__WATCHES_PASSWORD_FILE"] == "true"
    assert "VIGIE_BROKER__PID_FILE" not in variables


def test_secrets_come_from_outside(manifests: list[dict[str, Any]]) -> None:
    assert "Secret" not in {each["kind"] for each in manifests}
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            for each in container["env"]:
                if any(word in each["name"] for word in ("PASSWORD", "KEY", "TOKEN", "DATABASE__URL")):
                    value = each.get("value", "/")
                    if value != "true":
                        assert value.startswith("/") or "secretKeyRef" in each["valueFrom"], name


def test_every_replicated_process_may_lose_only_one_pod(manifests: list[dict[str, Any]]) -> None:
    budgets = {each["metadata"]["name"] for each in manifests if each["kind"] == "PodDisruptionBudget"}
    assert budgets == {"vigie-api", "vigie-ingest", "vigie-deliver"}
    scaled = {each["metadata"]["name"] for each in manifests if each["kind"] == "HorizontalPodAutoscaler"}
    assert scaled == {"vigie-api", "vigie-deliver"}


def test_the_network_is_closed_by_default(manifests: list[dict[str, Any]]) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"
    }
    denied = policies["vigie-deny"]
    assert denied["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in denied
    assert "egress" not in denied
    # Nobody but boxes comes from anywhere.
    open_to_all = [
        (name, rule["ports"])
        for name, spec in policies.items()
        for rule in spec.get("ingress", [])
        if "from" not in rule
    ]
    assert open_to_all == [("vigie-broker", [{"port": "boxes", "protocol": "TCP"}])]
