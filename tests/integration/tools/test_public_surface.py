"""What users rely on is listed: without prose, and with the names of the database."""

from tools.public_surface import collect, read_database, strip_prose


def test_prose_is_left_out_and_fields_of_that_name_stay() -> None:
    document = {"description": "Prose", "properties": {"description": {"type": "string", "title": "Prose"}}}
    assert strip_prose(document) == {"properties": {"description": {"type": "string"}}}


def test_it_lists_what_users_rely_on() -> None:
    found = collect(None)
    assert "/v1/sites" in found["openapi"]["paths"]
    assert found["settings"]["VIGIE_SITES__SILENT_INTERVALS"] == "3.0"
    assert found["metrics"]["vigie_alert_transitions counter"] == ["state", "severity"]
    assert "--data-dir" in found["commands"]["vigie up"]
    assert {"vigie simulate box", "vigie audit verify", "vigie secrets rotate"} <= set(found["commands"])
    assert "vigie/v1/{box}/telemetry" in {each["address"] for each in found["asyncapi"]["channels"].values()}


async def test_it_lists_the_database(database_url: str) -> None:
    found = await read_database(database_url)
    assert "samples box_key integer NO " in found["columns"]
    assert {"table boxes", "view tenant_samples"} <= set(found["objects"])
