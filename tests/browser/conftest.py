"""A real Chromium before the real application. Skipped, with the reason, where no Chromium is installed."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.conftest import PASSWORD
from tests.mesh import Mesh

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs an event loop in the test's own thread
expect.set_options(timeout=20_000)  # milliseconds; a busy machine is no failure

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium here: apt-get install chromium"))


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Ends with each module: its event loop would be in the way of other tests in the same process."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def browser_context_args(mesh: Mesh) -> dict[str, Any]:
    return {"base_url": mesh.url, "viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


@pytest.fixture
def site(page: Page) -> Iterator[Page]:
    """The page, with every error of the browser's console and every failed script told by the test."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    expected = ("the server responded with a status of",)
    assert [text for text in complaints if not any(known in text for known in expected)] == []


@pytest.fixture
def sign_in(site: Page) -> Callable[[str], Page]:
    """`sign_in("alice")`: through the form, as everybody does."""

    def enter(username: str) -> Page:
        site.context.clear_cookies()
        site.goto("/accounts/login/")
        site.locator("[name=login]").fill(username)
        site.locator("[name=password]").fill(PASSWORD)
        site.get_by_role("button", name="Sign in").click()
        site.wait_for_url(lambda url: "/accounts/login/" not in url)
        return site

    return enter


@pytest.fixture
def check_accessibility(site: Page) -> Callable[[], None]:
    """Run axe on the page as it stands: each theme and each width once."""

    def check() -> None:
        found = []
        for theme, width in (("light", 1440), ("dark", 390)):
            site.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
            site.set_viewport_size({"width": width, "height": 900})
            results = Axe().run(site, options={"runOnly": {"type": "tag", "values": RULES}})
            found += [
                f"{site.url} {theme} {width}: {problem['id']} {problem['nodes'][0]['html'][:200]}"
                for problem in results.response["violations"]
            ]
            overflow = site.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"{site.url} is {overflow} px wider than a screen of {width} px"
        site.set_viewport_size({"width": 1440, "height": 900})
        assert found == []

    return check


def shoot(site: Page, name: str) -> None:
    """For looking at: `SHOTS=folder pytest tests/browser/…`."""
    if folder := os.environ.get("SHOTS"):
        for theme in ("light", "dark"):
            site.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
            for width in (1440, 390):
                site.set_viewport_size({"width": width, "height": 900})
                # a hidden caret would be a style that our policy does not allow
                site.screenshot(path=f"{folder}/{name}-{theme}-{width}.png", full_page=True, caret="initial")
        site.set_viewport_size({"width": 1440, "height": 900})
