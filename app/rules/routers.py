"""All REST routes of this room, for the composition root."""

from typing import Final

from app.rules import backtest_router, presets_router, router

# `backtests` would be taken for the id of a rule: they are asked first.
routers: Final = (backtest_router.router, presets_router.router, router.router)
