"""The demo's report as a reader meets it: in Chromium, from disk, with no network, by mouse and by keyboard, wide and narrow.

Chromium is Debian's and axe-core comes from npm; where one of them can't be had the tests skip, except on a build server, which
sets CI=true.
"""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

CHROMIUM = shutil.which("chromium")
AXE = "axe-core@4.14.1"
REQUIRED = os.environ.get("CI") == "true"
WIDTHS = (1440, 390)
if REQUIRED:
    from playwright import sync_api as playwright
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
if not CHROMIUM and not REQUIRED:
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)


class Links(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, page: Path):
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and value != "data:,":
                self.addresses.append(value)


class Opened:
    """A page in a browser without a network, with what it asked for and what it complained of."""

    def __init__(self, browser, width: int, path: Path):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.goto(path.as_uri())
        # Pictures and viewers load as one scrolls to them; all of them are wanted here.
        self.page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
        self.page.evaluate("document.querySelectorAll('img, iframe').forEach(item => item.loading = 'eager')")
        self.page.wait_for_load_state("load")
        self.page.wait_for_function("[...document.images].every(image => image.complete)")


@pytest.fixture(scope="module")
def report(demo) -> Path:
    return demo.path("results/report")


@pytest.fixture(scope="module")
def scan_pages(report) -> dict[str, Path]:
    """A scan's page with a viewer of the volume, and one without."""
    pages = sorted((report / "subjects").glob("*/*.html"))
    viewed = [page for page in pages if "<iframe" in page.read_text(encoding="utf-8")]
    assert viewed and len(viewed) < len(pages)
    return {"with a viewer": viewed[0], "without": next(page for page in pages if page not in viewed)}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request, browser, report, scan_pages):
    """The three pages at one width, by name."""
    paths = {"index": report / "index.html"} | scan_pages
    found = {name: Opened(browser, request.param, path) for name, path in paths.items()}
    yield found
    for page in found.values():
        page.context.close()


@pytest.fixture
def index(browser, report):
    """The index, in which a test may sort and filter."""
    found = Opened(browser, WIDTHS[0], report / "index.html")
    yield found
    found.context.close()


@pytest.fixture(scope="session")
def axe(request) -> str:
    """The source of axe-core, kept in pytest's cache."""
    folder = request.config.cache.mkdir("axe-core")
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    wanted = folder / AXE
    if not wanted.is_file():
        try:
            command = ["npm", "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", AXE]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            problems = getattr(error, "stderr", "") or str(error)
            (pytest.fail if REQUIRED else pytest.skip)(f"npm can't install {AXE}: {problems}")
        wanted.touch()
    return script.read_text(encoding="utf-8")


def test_nothing_leaves_the_folder_and_nothing_complains(opened, report):
    for name, found in opened.items():
        assert found.requests, name
        outside = [url for url in found.requests if not url.startswith((report.as_uri(), "data:", "about:srcdoc"))]
        assert outside == [], name
        assert found.complaints == [], name


def test_every_picture_is_drawn(opened):
    for name, found in opened.items():
        broken = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
        assert found.page.evaluate(broken) == [], name


def test_page_is_no_wider_than_the_window(opened):
    for name, found in opened.items():
        width = found.page.viewport_size["width"]
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)


def test_axe_finds_nothing_serious(opened, axe):
    for name, found in opened.items():
        found.page.evaluate(axe)
        # axe would fetch the style sheet, which a page from disk may not; what it draws, axe sees without that.
        violations = found.page.evaluate(
            "axe.run(document, {preload: false, iframes: false}).then(done => done.violations)"
        )
        serious = [item for item in violations if item["impact"] in ("serious", "critical")]
        problems = [(item["id"], [node["html"][:200] for node in item["nodes"][:3]]) for item in serious]
        assert problems == [], name


def test_every_link_of_every_page_resolves(report):
    pages = [report / "index.html", *sorted((report / "subjects").glob("*/*.html"))]
    links = {page: Links(page) for page in pages}
    followed = 0
    for page, found in links.items():
        for address in found.addresses:
            if re.match(r"(?i)https?:", address):  # a reference to read; that nothing of it is loaded stands above
                continue
            path, anchor = urldefrag(address)
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_file(), f"{page.name}: {address}"
            if anchor:
                assert unquote(anchor) in links[target].anchors, f"{page.name}: {address}"
            followed += 1
    assert followed > 4 * len(pages)


def test_gallery_row_leads_to_the_scans_page_and_back(index):
    row = index.page.locator("table.gallery tbody tr").nth(2)
    scan_id, anchor = row.locator("th").get_attribute("data-value"), row.get_attribute("id")
    row.locator("th a").click()
    assert index.page.locator("h1").inner_text() == scan_id
    index.page.get_by_role("link", name="Back to the gallery").click()
    assert index.page.url.endswith(f"index.html#{anchor}")
    assert index.page.locator(f"#{anchor}").is_visible()


def test_viewer_draws_the_volume(browser, scan_pages):
    found = Opened(browser, WIDTHS[0], scan_pages["with a viewer"])
    found.page.locator("iframe.viewer").scroll_into_view_if_needed()
    canvas = found.page.frame_locator("iframe.viewer").locator("canvas")
    canvas.wait_for(state="visible")
    # A drawn brain has many shades; an empty canvas has one.
    shades = """canvas => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(data.filter((_, index) => index % 4 === 0)).size;
    }"""
    for _ in range(50):
        if canvas.evaluate(shades) > 50:
            break
        found.page.wait_for_timeout(200)
    assert canvas.evaluate(shades) > 50
    found.context.close()


# What stands in a column, in the order of the rows, as its sort reads it: `report.js` has the same rule.
COLUMN = """([table, column]) => [...document.querySelectorAll('table')[table].tBodies[0].rows].map(row =>
    row.cells[column].dataset.value ?? row.cells[column].textContent.trim())"""


def number_or_text(value: str) -> tuple:
    found = re.match(r"[−-]?\d[\d,]*(\.\d+)?(?=$|[\s%†‡])", value)
    if found:
        return (0, float(found.group().replace(",", "").replace("−", "-")))
    return (1, value.casefold())


def test_every_table_sorts_both_ways(index):
    tables = index.page.locator("table")
    several = 0
    for number in range(tables.count()):
        table = tables.nth(number)
        rows = table.locator("tbody tr").count()
        if rows < 2:
            continue
        several += 1
        buttons = table.locator("thead th button")
        assert buttons.count() > 0, table.locator("caption").inner_text()
        for button in buttons.all():
            header = button.locator("xpath=ancestor::th")
            column = header.evaluate("header => header.cellIndex")
            orders = []
            for _ in range(2):
                button.click()
                direction = header.get_attribute("aria-sort")
                values = index.page.evaluate(COLUMN, [number, column])
                known = [number_or_text(value) for value in values if value not in ("", "–")]
                assert all(value in ("", "–") for value in values[len(known) :]), "what is missing stands last"
                numbers = [value for kind, value in known if kind == 0]
                if len(numbers) == len(known):
                    assert numbers == sorted(numbers, reverse=direction == "descending"), (number, column, direction)
                orders.append(direction)
            assert sorted(orders) == ["ascending", "descending"]
        assert table.locator("tbody tr").count() == rows
    assert several > 5


def test_keyboard_reaches_a_sort_button_and_sorts(index):
    index.page.evaluate("document.querySelectorAll('details').forEach(item => item.open = false)")
    for _ in range(200):
        index.page.keyboard.press("Tab")
        if index.page.evaluate("document.activeElement.matches('th button')"):
            break
    assert index.page.evaluate("document.activeElement.matches('th button')")
    index.page.keyboard.press("Enter")
    assert index.page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    assert "Sorted by" in index.page.locator("#announcement").text_content()
    assert index.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is seen"


def test_filter_shows_the_unusual_scans_alone(index):
    rows = index.page.locator("table.gallery").first.locator("tbody tr")
    flagged = ["flagged" in row.get_attribute("data-marks") for row in rows.all()]
    index.page.locator("[data-filter] input[value=flagged]").first.check()
    assert [row.is_visible() for row in rows.all()] == flagged and not all(flagged)
