"""Lists the packages of other projects whose files pages load.

`tools/vendor_scripts.py` fetches them, and the list of components names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

REGISTER_FILES: Final = "app/public_register/static"
CONSOLE_FILES: Final = "app/console/static"


@dataclass(frozen=True, slots=True)
class VendoredPackage:
    """A package of npm, and the files that are taken from it.

    Attributes:
        name, version: The package.
        integrity: The hash of its archive, as npm writes it (`sha512-…`).
        licence: The name of its licence (SPDX).
        static: The folder of static files that has them. Its `SOURCES.md` lists them.
        files: The paths in that folder, by path in the package.
    """

    name: str
    version: str
    integrity: str
    licence: str
    static: str
    files: Mapping[str, str]


VENDORED_PACKAGES: Final = (
    VendoredPackage(
        "leaflet",
        "1.9.4",
        "sha512-nxS1ynzJOmOlHp+iL3FyWqK89GtNL8U8rvlMOsQdTTssxZwCXh8N2NB3GDQOL+YR3XnWyZAxwQixURb+FA74PA==",
        "BSD-2-Clause",
        REGISTER_FILES,
        {
            "dist/leaflet.js": "leaflet/leaflet.js",
            "dist/leaflet.css": "leaflet/leaflet.css",
            "LICENSE": "leaflet/LICENSE.txt",
        },
    ),
    VendoredPackage(
        "protomaps-leaflet",
        "5.1.0",
        "sha512-N0YY1Gbw5nZ9n8VUOvwHKm/w3zhTTuaZEeMZl8doHemeM4ujGPp2otI6t4Sgqrz8iM4svx2rpG1Q17rHkOWSaA==",
        "BSD-3-Clause",
        REGISTER_FILES,
        {
            "dist/protomaps-leaflet.js": "protomaps/protomaps-leaflet.js",
            "LICENSE": "protomaps/LICENSE.txt",
        },
    ),
    VendoredPackage(
        "uplot",
        "1.6.32",
        "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        "MIT",
        CONSOLE_FILES,
        {
            "dist/uPlot.iife.min.js": "vendor/uplot/uPlot.iife.min.js",
            "dist/uPlot.min.css": "vendor/uplot/uPlot.min.css",
            "LICENSE": "vendor/uplot/LICENSE.txt",
        },
    ),
    VendoredPackage(
        "supercluster",
        "9.1.0",
        "sha512-WMhsJPm8Tf9f5mKxJ1D0mB5tbCMOFi8wTrm/LGnsJHGg8xkeNT/TWDZuFauOGRISnclbYgnxD7g3xJAfQO3FLg==",
        "ISC",
        CONSOLE_FILES,
        {
            "dist/supercluster.min.js": "vendor/supercluster/supercluster.min.js",
            "LICENSE": "vendor/supercluster/LICENSE.txt",
        },
    ),
    # `supercluster.min.js` contains kdbush, so its licence is published too.
    VendoredPackage(
        "kdbush",
        "4.1.0",
        "sha512-e9vurzrXJQrFX6ckpHP3bvj5l+9CnYzkxDNnNQ1h2QTqdWsUAJgXiKdGNcOa1EY85dU8KbQ+z/FdQdB7P+9yfQ==",
        "ISC",
        CONSOLE_FILES,
        {"LICENSE": "vendor/supercluster/LICENSE-kdbush.txt"},
    ),
)
