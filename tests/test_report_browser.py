"""The report of `ffnp compare` in Chromium, from the disk: what a reader sees, light and dark, on a desk and on a telephone."""

import json
import shutil

import pytest
from pages import Page
from selenium import webdriver

from ffnp.cli import main

pytestmark = pytest.mark.browser
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync")
TELEPHONE, DESK = 360, 1200  # pixels across
READABLE = 4.5  # WCAG 2.2, 1.4.3: contrast of text

PICTURES = "return [...document.images].map(i => ({title: i.alt.split('.')[0], width: i.naturalWidth, shown: i.clientWidth}))"
CELLS = "return [...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText.trim()))"
WIDTHS = """return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('body *')].map(
    e => Math.ceil(e.getBoundingClientRect().right))]"""
COLOURS = """return [...document.querySelectorAll('h1, h2, dt, dd, a, td, th, caption, figcaption, p, footer')].map(
    e => [e.tagName, getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor])"""
# The colours that are in the first figure as the page shows it, and how many of its pixels have each.
INKS = """
const image = document.images[0], canvas = document.createElement('canvas'), counts = {};
canvas.width = image.clientWidth; canvas.height = image.clientHeight;
const context = canvas.getContext('2d');
context.drawImage(image, 0, 0, canvas.width, canvas.height);
const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
for (let i = 0; i < data.length; i += 4) if (data[i + 3] == 255) {
    const colour = `rgb(${data[i]}, ${data[i + 1]}, ${data[i + 2]})`;
    counts[colour] = (counts[colour] || 0) + 1;
}
return counts"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    assert main(["compare", "bp-small", "ff-small", "pepita-mirror", "--epochs", "4", "--layers", "64,30,20", "--seeds", "2",
                 "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium and driver, "these tests need Chromium and its driver: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser, folder):
    """The report, opened; `see` chooses how."""
    for log in ("browser", "performance"):
        browser.get_log(log)  # that of the test before
    browser.get((folder / "report.html").as_uri())
    return browser


def see(page, width=DESK, scheme="light"):
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == TELEPHONE})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)", as WCAG has it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour, other):
    dark, light = sorted([luminance(colour), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_it_opens_from_the_disk_without_a_word_and_asks_for_nothing(page, folder):
    see(page)
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [(folder / "report.html").as_uri()]


def test_every_picture_is_there(page, folder):
    see(page)
    pictures, written = page.execute_script(PICTURES), Page((folder / "report.html").read_text())
    assert len(pictures) == len(written.values("src", "img")) >= 20
    assert all(picture["width"] > 0 and picture["shown"] > 200 for picture in pictures), pictures


def test_the_table_says_what_the_json_says(page, folder):
    see(page)
    rows = json.loads((folder / "compare.json").read_text())["rows"]
    for cells, row in zip(page.execute_script(CELLS), rows, strict=True):
        preset, rule, read_out, accuracy, seconds, parameters, *_ = cells
        assert (preset, rule, read_out) == (row["preset"], row["rule"], row["read_out"])
        assert accuracy == f"{100 * row['accuracy']:.2f} ± {100 * row['deviation']:.2f} %"
        assert (seconds, parameters) == (f"{row['seconds_per_epoch']:.3g}", f"{row['parameters']:,}")


@pytest.mark.parametrize("width", [TELEPHONE, 700, DESK])
def test_nothing_is_wider_than_the_screen(width, page):
    see(page, width)
    assert max(page.execute_script(WIDTHS)) <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(scheme, page):
    see(page, scheme=scheme)
    colours = page.execute_script(COLOURS)
    assert {tag for tag, *_ in colours} >= {"H1", "DT", "DD", "TD", "CAPTION", "FIGCAPTION"}
    assert min(contrast(ink, paper) for _, ink, paper in colours) >= READABLE
    assert (luminance(colours[0][2]) < 0.05) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_can_be_read(scheme, page):
    """The axes and words of a figure stand out from the page as the page's own words do."""
    see(page, scheme=scheme)
    paper = page.execute_script(COLOURS)[0][2]
    inks = page.execute_script(INKS)
    strongest = max(inks, key=lambda colour: inks[colour] * (contrast(colour, paper) > 7))
    assert contrast(strongest, paper) > 7 and inks[strongest] > 100
