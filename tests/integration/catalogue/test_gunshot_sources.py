"""The catalogue of acoustic sources over REST, and that it is no gate for what boxes send and rules name."""

from typing import Any

import httpx
import pytest

from app.catalogue.gunshot_sources import CATALOGUE
from app.catalogue.schemas import AcousticSourceOut, AcousticSourcePage
from app.platform.http.contract.etags import EtagPolicy, ResourceModel
from tests.conftest import Tenant

LIST = "/v1/acoustic-sources"


async def found(client: httpx.AsyncClient, **params: str | int) -> list[dict[str, Any]]:
    """All rows, from as many pages as there are."""
    rows: list[dict[str, Any]] = []
    while True:
        page = (await client.get(LIST, params=params)).raise_for_status().json()
        assert page["catalogue_version"] == CATALOGUE.version
        rows += page["data"]
        if page["next"] is None:
            return rows
        params["cursor"] = page["next"]


async def test_a_model_says_what_it_is(tenant: Tenant) -> None:
    answer = (await tenant.client.get(f"{LIST}/manurhin-mr-73")).raise_for_status()
    assert answer.json() == {
        "id": "manurhin-mr-73",
        "kind": "firearm",
        "name": "Manurhin MR 73",
        "name_fr": "Manurhin MR 73",
        "class": "revolver",
        "class_label": "Revolver",
        "class_label_fr": "Revolver",
        "maker": "Manurhin",
        "calibre": ".357 Magnum",
        "mechanism": {
            "id": "double_action",
            "label": "Double-action revolver",
            "label_fr": "Revolver à double action",
        },
        "fire_modes": ["single"],
        "projectile": "supersonic",
        "note": None,
        "note_fr": None,
        "hint": None,
        "hint_fr": None,
        "catalogue_version": CATALOGUE.version,
    }


async def test_a_look_alike_says_how_it_differs(tenant: Tenant) -> None:
    answer = (await tenant.client.get(f"{LIST}/nail_gun")).raise_for_status().json()
    assert (answer["kind"], answer["class"], answer["class_label_fr"]) == (
        "look_alike",
        "nail_gun",
        "Cloueur",
    )
    assert {answer[name] for name in ("maker", "calibre", "mechanism", "projectile", "note")} == {None}
    assert answer["fire_modes"] == []
    assert "wood" in answer["hint"]
    assert "bois" in answer["hint_fr"]


@pytest.mark.parametrize("identifier", ["glock-1700", "GLOCK-17", "%00", "a" * 300])
async def test_what_is_not_in_it_is_not_found(tenant: Tenant, identifier: str) -> None:
    answer = await tenant.client.get(f"{LIST}/{identifier}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_all_of_it_comes_in_pages(tenant: Tenant) -> None:
    rows = await found(tenant.client, limit=50)
    assert [row["id"] for row in rows] == sorted(source.id for source in CATALOGUE.sources)
    by_class = await found(tenant.client, limit=40, sort="-class")
    places = [(row["class"], row["id"]) for row in by_class]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == len(rows)


@pytest.mark.parametrize(
    ("params", "some", "size"),
    [
        ({"class": "shotgun"}, "mossberg-500", sum(each.class_ == "shotgun" for each in CATALOGUE.firearms)),
        ({"class": "firework"}, "firework", 1),
        ({"kind": "look_alike"}, "door_slam", len(CATALOGUE.look_alikes)),
        ({"kind": "firearm"}, "fr-f2", len(CATALOGUE.firearms)),
        ({"q": "GLOCK"}, "glock-22", 5),
        # Accents, the sign of calibres and case make no difference; makers and French names count.
        ({"q": "skorpion"}, "skorpion-vz-61", 1),
        ({"q": "5.45x39"}, "ak-74", 2),
        ({"q": "pétard"}, "firecracker", 1),
        ({"q": "petard"}, "firecracker", 1),
        ({"q": "saint-étienne", "class": "machine_gun"}, "aa-52", 1),
        ({"q": "glock", "kind": "look_alike"}, None, 0),
        ({"class": "firework", "kind": "firearm"}, None, 0),
        ({"q": "%"}, None, 0),
    ],
)
async def test_it_is_filtered_and_searched(
    tenant: Tenant, params: dict[str, str], some: str | None, size: int
) -> None:
    ids = {row["id"] for row in await found(tenant.client, **params)}
    assert len(ids) == size
    assert some is None or some in ids


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"class": "handgun"}, "invalid_value"),
        ({"kind": "gun"}, "invalid_value"),
        ({"sort": "maker"}, "invalid_value"),
        ({"cursor": "bm9uZQ"}, "invalid_cursor"),
        ({"model": "glock-17"}, "unknown_parameter"),
        ({"q": " "}, "invalid_text"),
    ],
)
async def test_what_cannot_be_asked_is_refused(tenant: Tenant, params: dict[str, str], code: str) -> None:
    answer = await tenant.client.get(LIST, params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_who_has_this_version_is_sent_nothing(tenant: Tenant) -> None:
    for path in (LIST, f"{LIST}?kind=look_alike", f"{LIST}/glock-17"):
        first = (await tenant.client.get(path)).raise_for_status()
        again = await tenant.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await tenant.client.get(path, headers={"If-None-Match": '"x"'})).content == first.content
    pages = {(await tenant.client.get(LIST, params={"limit": limit})).headers["etag"] for limit in (1, 2)}
    assert len(pages) == 2


@pytest.mark.parametrize(
    ("path", "model"), [(LIST, AcousticSourcePage), (f"{LIST}/glock-17", AcousticSourceOut)]
)
async def test_another_version_has_another_tag(tenant: Tenant, path: str, model: type[ResourceModel]) -> None:
    answer = (await tenant.client.get(path)).raise_for_status()
    shape = EtagPolicy.of(model)
    assert shape is not None
    assert answer.headers["etag"] == f'"{shape.tag(answer.json())}"'
    next_version = {**answer.json(), "catalogue_version": CATALOGUE.version + 1}
    assert answer.headers["etag"] != f'"{shape.tag(next_version)}"'


async def test_any_key_may_read_it_and_nobody_without(tenant: Tenant) -> None:
    made = await tenant.client.post("/v1/api-keys", json={"name": "alerts", "scopes": ["alerts:read"]})
    key = made.raise_for_status().json()["key"]
    for path in (LIST, f"{LIST}/glock-17"):
        for given, status in ((key, 200), (f"{key[:-1]}_", 401)):
            answer = await tenant.client.get(path, headers={"authorization": f"Bearer {given}"})
            assert answer.status_code == status


async def test_a_rule_may_name_what_the_catalogue_does_not_know(tenant: Tenant, site_id: str) -> None:
    condition = {"event": "gunshot", "class": "railgun", "model": "mk-1"}
    body = {"site_id": site_id, "name": "New firmware", "severity": "critical", "condition": condition}
    made = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()
    assert made["condition"]["class"] == "railgun"
