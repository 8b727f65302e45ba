"""The routers of this room."""

from typing import Final

from app.pages.guides_router import router as guides
from app.pages.welcome_router import router as welcome

routers: Final = (guides, welcome)
