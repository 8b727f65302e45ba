"""The routers of this room."""

from typing import Final

from app.rights.pages import router as pages
from app.rights.router import anybody, router

routers: Final = (anybody, router, pages)
