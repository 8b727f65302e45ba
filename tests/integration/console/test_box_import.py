"""Many boxes from a table by the pages: check, faults at their cells, creation in parts, credentials."""

import csv
import html
import io
import re
from pathlib import Path

import pytest

from app.console.fleet import box_import_table
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import ConsoleClient
from tests.integration.people.folk import SignedInPerson
from tests.integration.public_register.browsing import wait_until_true

IMPORT = "/console/fleet/import"
SCRIPT = "<script>alert(1)</script>"


def read_credentials(page: str) -> dict[str, str]:
    found = re.search(r'<textarea id="credentials"[^>]*>([^<]*)</textarea>', page)
    assert found is not None
    rows = csv.DictReader(io.StringIO(html.unescape(found[1])))
    return {row["username"]: row["password"] for row in rows}


def read_form(page: str) -> dict[str, str]:
    """The fields of the form that creates, or continues."""
    form = page.split("data-steps", 1)[1].split("</form>", maxsplit=1)[0]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    table = re.search(r'<textarea name="table" hidden>([^<]*)</textarea>', form)
    assert table is not None
    return {name: html.unescape(value) for name, value in {**fields, "table": table[1]}.items()}


async def test_faults_stand_at_their_cells_and_nothing_is_created(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "taken-1", "site_id": site_id})
    table = (
        "id;site;name;latitude;longitude;interval_s\n"
        f"good-1;Rue d'Alsace-Lorraine;{SCRIPT};43,6;1,44;60\n"
        f"taken-1;{site_id};;;;\n"
        "a b;;;;;often\n"
        'good-2;Nowhere;"two\nlines";;;\n'
        "good-1;;;;;\n"
    )
    answer = await console.send(IMPORT, {"table": table, "site": site_id}, 422)
    text = html.unescape(answer.text)
    assert "6 faults were found. Nothing was created." in text
    rows = re.findall(r'<th scope="row" class="number">(\d+)</th>(.*?)</tr>', text, re.DOTALL)
    assert [line for line, _ in rows] == ["3", "4", "5", "7"]
    cells = {line: re.findall(r'<td class="bad">(.*?)</td>', cells, re.DOTALL) for line, cells in rows}
    assert [len(cells[line]) for line in ("3", "4", "5", "7")] == [1, 2, 2, 1]
    assert cells["4"][1].startswith("often")
    assert cells["5"][0].startswith("Nowhere")
    assert "No site is called Nowhere" in cells["5"][0]
    assert "occurs on line 2 already" in cells["7"][0]
    assert SCRIPT not in answer.text
    assert "data-steps" not in answer.text
    boxes = (await tenant.client.get("/v1/boxes")).json()["data"]
    assert [box["id"] for box in boxes] == ["taken-1"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "Paste a table"),
        ("id,site_id\n", "has a header and no rows"),
        ("id;name,site\nx;y", "Separate all cells by one of them"),
        ("name\nx\n", "no column id"),
        ('id\n"open\n', "This is not CSV"),
    ],
)
async def test_what_is_no_table_is_explained(
    console: ConsoleClient, site_id: str, table: str, said: str
) -> None:
    answer = await console.send(IMPORT, {"table": table, "site": site_id}, 422)
    assert said in html.unescape(answer.text)
    assert "data-steps" not in answer.text


async def test_boxes_are_created_in_parts_and_each_part_shows_its_credentials(
    console: ConsoleClient, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_import_table, "BULK_MAX", 2)
    table = "id,name\n" + "".join(f"part-{number},Box {number}\n" for number in range(5))
    checked = await console.send(IMPORT, {"table": table, "site": site_id}, 200)
    assert "5 boxes can be created" in checked.text
    fields = read_form(checked.text)
    passwords: dict[str, str] = {}
    for done in ("2 of 5 boxes", "4 of 5 boxes", "5 boxes were created"):
        answer = await console.send(f"{IMPORT}/create", fields, 201)
        assert done in answer.text
        # A reload shows the same passwords, and creates nothing again.
        again = await console.send(f"{IMPORT}/create", fields, 201)
        assert read_credentials(again.text) == read_credentials(answer.text)
        passwords |= read_credentials(answer.text)
        if "data-steps" in answer.text:
            fields = read_form(answer.text)
    assert sorted(passwords) == [f"part-{number}" for number in range(5)]
    boxes = (await tenant.client.get("/v1/boxes")).json()["data"]
    assert [box["name"] for box in boxes] == [f"Box {number}" for number in range(5)]


async def test_a_box_that_was_created_meanwhile_is_named(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    checked = await console.send(IMPORT, {"table": "id\nlate-1\nlate-2\n", "site": site_id}, 200)
    await tenant.client.post("/v1/boxes", json={"id": "late-2", "site_id": site_id})
    answer = await console.send(f"{IMPORT}/create", read_form(checked.text), 409)
    assert '<td class="bad">late-2' in answer.text
    assert (await tenant.client.get("/v1/boxes/late-1")).status_code == 404


@pytest.mark.usefixtures("site_id")
async def test_the_example_can_be_imported_as_it_is(console: ConsoleClient) -> None:
    answer = await console.http.get(f"{IMPORT}/example.csv")
    assert "attachment" in answer.headers["content-disposition"]
    table = answer.content.decode("utf-8-sig")
    assert "Rue d'Alsace-Lorraine" in table
    assert "2 boxes can be created" in (await console.send(IMPORT, {"table": table}, 200)).text


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_a_file_becomes_boxes_with_progress(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    tenant: Tenant,
    site_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
) -> None:
    monkeypatch.setattr(box_import_table, "BULK_MAX", 20)
    await owner_person.client.patch("/v1/me", json={"locale": language})
    file = tmp_path / "boxes.csv"
    lines = "".join(f"file-{number:03};Place n°{number}\r\n" for number in range(70))
    file.write_bytes(f"id;name\r\n{lines}".encode("cp1252"))
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit(IMPORT)
    await page.set_input_files("#file", file)
    await wait_until_true(page, "document.getElementById('table').value.includes('file-069')")
    await page.select_option("#site", site_id)
    await page.click("#import button")
    await page.wait_for_selector("[data-steps]")
    assert await signed_in.grave() == []
    await page.click("[data-steps] button")
    await page.wait_for_selector("#steps a[href*='created_at']")
    assert await page.get_attribute("progress", "value") == "70"
    rows = list(csv.DictReader(io.StringIO(await page.input_value("#credentials"))))
    assert [row["username"] for row in rows] == [f"file-{number:03}" for number in range(70)]
    assert await signed_in.grave() == []
    async with page.expect_download() as download:
        await page.click("[data-download]")
    saved = await (await download.value).path()
    assert len(saved.read_bytes().decode("utf-8-sig").split()) == 71
    boxes = (await tenant.client.get("/v1/boxes?limit=1000")).json()["data"]
    assert boxes[-1]["name"] == "Place n°69"
