"""A real browser. Where there is none these tests are skipped, unless it was said to be there."""

import os
import shutil

import pytest

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
NEEDED = os.environ.get("DSPY_GEPA_NEEDS_BROWSER") == "1"


@pytest.fixture(scope="module")  # its event loop must be gone for other tests
def browser():
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        reason = 'needs a Chromium and the extra "browser"'
        if NEEDED:
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # No sandbox: as root there can be none.
        with_browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield with_browser
        with_browser.close()
