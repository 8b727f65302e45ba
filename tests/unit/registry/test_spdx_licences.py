"""Licences are those of SPDX, however their case is written."""

import pytest
from pydantic import ValidationError

from app.public_register.settings import RegisterSettings
from app.registry.spdx_licences import get_licence_title, get_licence_url, normalise_licence_id


def test_an_identifier_is_spelt_as_spdx_does() -> None:
    assert normalise_licence_id("cc-by-4.0") == "CC-BY-4.0"
    assert normalise_licence_id(" ETALAB-2.0 ") == "etalab-2.0"
    assert get_licence_title("etalab-2.0") == "Etalab Open License 2.0"
    assert get_licence_title("of-another-time") == "of-another-time"
    assert get_licence_url("ODbL-1.0") == "https://spdx.org/licenses/ODbL-1.0.html"


@pytest.mark.parametrize("name", ["", "CC BY 4.0", "public domain", "GPL-2.0", "Classpath-exception-2.0"])
def test_what_spdx_does_not_list_or_has_withdrawn_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="SPDX"):
        normalise_licence_id(name)


def test_the_setting_is_checked_and_there_is_one_source_of_tiles() -> None:
    assert RegisterSettings(licence="odbl-1.0").licence == "ODbL-1.0"
    with pytest.raises(ValidationError, match="SPDX"):
        RegisterSettings(licence="mine")
    with pytest.raises(ValidationError, match="not both"):
        RegisterSettings.model_validate(
            {"tiles_url": "https://a.example/{z}/{x}/{y}.png", "tiles_file": "/tmp/a.pmtiles"}  # noqa: S108
        )
