"""The routers of this room, in the order of the documentation."""

from app.register.data_router import router as data
from app.register.pages_router import router as pages

# `/sites/{site_id}/…` before what takes any path.
routers = (data, pages)
