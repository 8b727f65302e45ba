"""Measures the console over a city of 10,000 boxes: its pages at the server, and in Chromium what people see.

Times in the browser are those of its own clock. For an alert it is compared with the clock of this process:
both read that of the machine.
"""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from bench.console_city import CitySize, ConsoleCity, build_city, send_sample, year_boxes
from bench.load import box_id
from bench.measure import CpuReading
from bench.process import FailedError, python
from bench.results import percentile
from bench.stack import BenchStack
from simulators.rest_client import ApiClient

MAP_S: Final = 3.0
"""So long the map is moved."""
PATH: Final = "/v1/me"
"""What is called within the process and by HTTP: it reads little, so that the way to it counts."""

_DATABASE: Final = "console"
_COOKIE: Final = "vigie_session"
_OK: Final = 200
_WARM_READS: Final = 3
_WARM_CALLS: Final = 50
_WITHIN_MS: Final = 20_000
_SETTLE_S: Final = 2.0
_DRAG_STEPS: Final = 12
_DRAG_PX: Final = 220
_WHEEL_PX: Final = 240
_ZOOM_S: Final = 0.4
_MOVES: Final = 3
_ALERT_PAUSE_S: Final = (1.5, 3.0)
_VIEW: Final = {"width": 1280, "height": 860}
# Notes when the map has its boxes and was drawn: two frames later their marks are on the screen.
_WATCH_MAP: Final = """
window.bench = { map: null };
new MutationObserver(() => {
  if (bench.map !== null || !document.getElementById("now-map")?.dataset.loaded) return;
  bench.map = 0;
  requestAnimationFrame(() => requestAnimationFrame(() => { bench.map = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-loaded"] });
"""
_PAINT: Final = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
_START_FRAMES: Final = """() => {
  bench.frames = [];
  bench.moves = new Set();
  const map = document.getElementById("now-map"), part = (name) => map.querySelector(`.leaflet-${name}`);
  const describe = () => part("control-scale").textContent + part("map-pane").style.transform;
  new MutationObserver(() => bench.moves.add(describe()))
    .observe(map, { attributes: true, attributeFilter: ["data-shown"] });
  const note = (at) => { bench.frames.push(at); bench.frame = requestAnimationFrame(note); };
  bench.frame = requestAnimationFrame(note);
}"""
_END_FRAMES: Final = """() => {
  cancelAnimationFrame(bench.frame);
  return bench.frames.slice(1).map((at, index) => at - bench.frames[index]);
}"""
_WATCH_ALERT: Final = """(text) => {
  bench.seen = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (!document.getElementById("firing").textContent.includes(text)) return;
      observer.disconnect();
      resolve(performance.timeOrigin + performance.now());
    });
    observer.observe(document.body, { subtree: true, childList: true, characterData: true });
  });
}"""


@dataclass(frozen=True, slots=True)
class ConsolePlan:
    """How often each is measured.

    Attributes:
        calls: of each page at the server.
        loads: of the first page with an empty cache, and of each chart.
        alerts: that fire while the page is watched.
        internal: calls within the process, and by HTTP.
    """

    calls: int = 40
    loads: int = 5
    alerts: int = 10
    internal: int = 500


@dataclass(frozen=True, slots=True)
class PageTimes:
    """A page at the server.

    Attributes:
        name: of the page.
        took_ms: of each answer.
        size: of an answer as it is sent (bytes).
    """

    name: str
    took_ms: Sequence[float]
    size: int

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            f"`{self.name}`",
            f"{self.size / 1000:.1f} kB",
            f"{percentile(self.took_ms, 0.5):.0f}",
            f"**{percentile(self.took_ms, 0.95):.0f}**",
            f"{max(self.took_ms):.0f}",
            "300",
        ]


PAGES_HEAD: Final = ["page", "answer", "p50 (ms)", "p95 (ms)", "longest (ms)", "aim of p95 (ms)"]


@dataclass(frozen=True, slots=True)
class FirstLoad:
    """A load of the first page with an empty cache.

    Attributes:
        files: requests until the map was drawn.
        size: what was transferred until then, with headers (bytes).
        refreshed: the same with what the page reads soon afterwards (bytes).
        paint_ms: until the first contentful paint.
        map_ms: until the map shows all boxes.
    """

    files: int
    size: int
    refreshed: int
    paint_ms: float
    map_ms: float


@dataclass(slots=True)
class ConsoleResults:
    """All figures of the console.

    Attributes:
        city: the size of the city.
        chromium: the version of the browser.
        pages: the pages at the server.
        loads: of the first page.
        frames_ms: times between frames while the map is moved.
        alerts_ms: from the call with a sample until its alert is on the page.
        draws_ms: from the arrival of a year's values until they are drawn, by number of series.
        internal_us: CPU time of a call within the process.
        http_us: CPU time of the same call by HTTP, of the API and of the client.
    """

    city: CitySize
    chromium: str = ""
    pages: list[PageTimes] = field(default_factory=list)
    loads: list[FirstLoad] = field(default_factory=list)
    frames_ms: Sequence[float] = ()
    alerts_ms: Sequence[float] = ()
    draws_ms: Mapping[int, Sequence[float]] = field(default_factory=dict)
    internal_us: float = 0.0
    http_us: tuple[float, float] = (0.0, 0.0)

    def rows(self) -> list[list[str]]:
        """Return the cells of the table of what people see."""
        loads, frames = self.loads, self.frames_ms
        sizes = [load.size / 1000 for load in loads]
        refreshed = [load.refreshed / 1000 for load in loads]
        rows = [
            [f"first load, {loads[0].files} files", *_cells(sizes, "kB"), "300 kB"],
            ["with what the page reads in the next seconds", *_cells(refreshed, "kB"), "-"],
            ["until the first contentful paint", *_cells([load.paint_ms for load in loads]), "-"],
            ["until the map shows all boxes", *_cells([load.map_ms for load in loads]), "-"],
            [f"frames of the map ({len(frames)})", *_cells(frames), "-"],
            ["from a sample to its alert on the page", *_cells(self.alerts_ms), "1,000 ms"],
        ]
        for series, draws in self.draws_ms.items():
            many = "1 series" if series == 1 else f"{series} series"
            rows.append([f"a year of hourly values drawn, {many}", *_cells(draws), "200 ms"])
        return rows


HEAD: Final = ["in Chromium", "p50", "p95", "longest", "aim"]


def _cells(values: Sequence[float], unit: str = "ms") -> list[str]:
    ordered = (percentile(values, 0.5), percentile(values, 0.95), max(values))
    digits = 0 if ordered[0] >= 100 else 1  # noqa: PLR2004 (three digits are enough)
    return [f"{value:,.{digits}f} {unit}" for value in ordered]


async def measure(
    stack: BenchStack, *, size: CitySize | None = None, plan: ConsolePlan | None = None
) -> ConsoleResults:
    """Build the city, and measure one part after the other.

    Raises:
        FailedError: a page is refused, or Chromium is missing.
    """
    city_size, plan = size or CitySize(), plan or ConsolePlan()
    database = await stack.database(_DATABASE)
    city = await build_city(stack, database, city_size)
    found = ConsoleResults(city_size)
    async with stack.api_role(database) as (admin, running), stack.role("deliver", database):
        found.pages = await _time_pages(admin.address, city, plan.calls)
        found.http_us = await _measure_http_call(admin.address, city.token, running.pid, plan.internal)
        async with _chromium() as browser:
            found.chromium = browser.version
            for _ in range(plan.loads):
                async with _signed_in(browser, admin.address, city.token) as page:
                    found.loads.append(await _load_first_page(page))
            async with _signed_in(browser, admin.address, city.token) as page:
                await _open_map(page)
                found.frames_ms = await _move_map(page)
            async with (
                _signed_in(browser, admin.address, city.token) as page,
                ApiClient(admin.address, city.key) as client,
            ):
                found.alerts_ms = await _watch_alerts(page, client, city, plan.alerts)
            found.draws_ms = {
                series: await _draw_year(browser, admin.address, city, series, plan.loads * 2)
                for series in (1, len(year_boxes(city_size)))
            }
    found.internal_us = await _measure_internal_call(stack, database, city.token, plan.internal)
    await stack.drop(_DATABASE)
    return found


async def _time_pages(base: str, city: ConsoleCity, calls: int) -> list[PageTimes]:
    """Read each page in turn, one after the other."""
    took: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    headers = {"Cookie": f"{_COOKIE}={city.token}", "Accept-Encoding": "gzip"}
    async with aiohttp.ClientSession(base, headers=headers, auto_decompress=False) as session:
        for turn in range(calls + _WARM_READS):
            for name, path in city.pages.items():
                began = time.perf_counter()
                async with session.get(path, allow_redirects=False) as answer:
                    body = await answer.read()
                    if answer.status != _OK:
                        raise FailedError(f"{path}: {answer.status}")
                if turn >= _WARM_READS:
                    took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
                    sizes[name] = len(body)
    return [PageTimes(name, times, sizes[name]) for name, times in took.items()]


async def _measure_http_call(base: str, token: str, pid: int, calls: int) -> tuple[float, float]:
    """Return the CPU time of a call by HTTP (µs): of the API, and of the client, which is this process."""
    headers = {"Authorization": f"Bearer {token}"}

    async def call(times: int) -> None:
        for _ in range(times):
            async with session.get(PATH) as answer:
                await answer.json()
                if answer.status != _OK:
                    raise FailedError(f"{PATH}: {answer.status}")

    async with aiohttp.ClientSession(base, headers=headers) as session:
        await call(_WARM_CALLS)
        before, own = CpuReading.now({"api": pid}), time.process_time()
        await call(calls)
        after = CpuReading.now({"api": pid})
    return after.since(before)["api"] / calls * 1e6, (time.process_time() - own) / calls * 1e6


async def _measure_internal_call(stack: BenchStack, database: str, token: str, calls: int) -> float:
    environment, log = stack.environment(database), stack.folder / "console_calls.log"
    arguments = (token, PATH, str(_WARM_CALLS), str(calls))
    module = "bench.console_calls"
    async with python(module, *arguments, environment=environment, log=log, piped=True) as child:
        return float(await child.read_result("cpu_us"))


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise FailedError("Chromium is missing: sh deploy/install.sh --tests")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def _signed_in(browser: Browser, base: str, token: str) -> AsyncIterator[Page]:
    """Open a page with an empty cache, in which the person is signed in."""
    context: BrowserContext = await browser.new_context(base_url=base, locale="en-GB", viewport=_VIEW)  # type: ignore[arg-type]
    context.set_default_timeout(_WITHIN_MS)
    try:
        await context.add_cookies([{"name": _COOKIE, "value": token, "url": base, "httpOnly": True}])
        await context.add_init_script(_WATCH_MAP)
        yield await context.new_page()
    finally:
        await context.close()


async def _open_map(page: Page) -> None:
    await page.goto("/console")
    await page.wait_for_function("() => window.bench.map > 0")


async def _load_first_page(page: Page) -> FirstLoad:
    protocol = await page.context.new_cdp_session(page)
    sizes: list[float] = []

    def add(event: Mapping[str, Any]) -> None:
        sizes.append(event["encodedDataLength"])

    # The event stream does not end, and is not counted.
    protocol.on("Network.loadingFinished", add)
    await protocol.send("Network.enable")
    await _open_map(page)
    files, size = len(sizes), int(sum(sizes))
    await asyncio.sleep(_SETTLE_S)
    return FirstLoad(
        files,
        size,
        int(sum(sizes)),
        float(await page.evaluate(_PAINT)),
        float(await page.evaluate("() => bench.map")),
    )


async def _move_map(page: Page) -> list[float]:
    """Drag the map and zoom by the wheel, and return the times between frames (ms)."""
    await asyncio.sleep(_SETTLE_S)
    place = page.locator("#now-map")
    await place.scroll_into_view_if_needed()
    # The wheel zooms a map that has the focus.
    await place.focus()
    box = await place.bounding_box()
    if box is None:
        raise FailedError("The map is not on the page.")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.evaluate(_START_FRAMES)
    end, turn = time.monotonic() + MAP_S, 0
    while time.monotonic() < end:
        way = 1 if turn % 2 == 0 else -1
        await page.mouse.down()
        await page.mouse.move(x + way * _DRAG_PX, y + way * _DRAG_PX / 2, steps=_DRAG_STEPS)
        await page.mouse.up()
        await page.mouse.move(x, y)
        # In three times, then out three times.
        await page.mouse.wheel(0, -_WHEEL_PX if turn % 6 < 3 else _WHEEL_PX)  # noqa: PLR2004
        # While a map zooms, it cannot be dragged.
        await asyncio.sleep(_ZOOM_S)
        turn += 1
    frames: list[float] = await page.evaluate(_END_FRAMES)
    if await page.evaluate("() => bench.moves.size") < _MOVES:
        raise FailedError("The map did not move.")
    return frames


async def _watch_alerts(page: Page, client: ApiClient, city: ConsoleCity, alerts: int) -> list[float]:
    """Let alerts fire, and return the times until the page lists them (ms)."""
    rng = random.Random(1)
    await _open_map(page)
    took = []
    for number in range(alerts):
        # The page reads itself again at intervals: an alert may come at any moment of them.
        await asyncio.sleep(rng.uniform(*_ALERT_PAUSE_S))
        box = box_id(city.size.boxes - 1 - number)
        await page.evaluate(_WATCH_ALERT, box)
        began = time.time()
        await send_sample(client, box, no2=300.0)
        seen = float(await page.evaluate("() => bench.seen"))
        took.append(seen - began * 1000)
    return took


async def _draw_year(browser: Browser, base: str, city: ConsoleCity, series: int, loads: int) -> list[float]:
    """Open the chart of a year by the hour, and return the times from the arrival of its values (ms)."""
    boxes = year_boxes(city.size)[:series]
    shown = "&".join(f"box={box}" for box in boxes)
    took = []
    async with _signed_in(browser, base, city.token) as page:
        for _ in range(loads):
            await page.goto(f"/console/boxes/{boxes[0]}?range=1y&bucket=1h&metric=pm2_5&{shown}")
            drawn = page.locator("[data-charts][data-draw-ms]")
            await drawn.wait_for()
            took.append(float(await drawn.get_attribute("data-draw-ms") or "nan"))
    return took
