"""The page of a run in a real browser: nothing of a run acts, and everybody can read it."""

import dataclasses
import re
import threading
from html import unescape

import pytest
from made_story import story_of_texts

from dspy_gepa.command import live
from dspy_gepa.errors import readable
from dspy_gepa.views.page.page import environment_with, page_of

MARK = "window.acted=1;document.title='acted'"
ATTACKS = [
    f"</script><script>{MARK}</script>",
    "</style><style>body{display:none}",
    f"<img src=x onerror={MARK}>",
    f"<svg/onload={MARK}>",
    f"<details open ontoggle={MARK}>",
    f'" autofocus onfocus="{MARK}',
    f"' onmouseover='{MARK}",
    "<!-- <script>",
    "]]>",
    f"</pre></details></textarea></title></table><script>{MARK}</script>",
    f"<iframe srcdoc='<script>parent.{MARK}</script>'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/a.css>",
    "<form action=https://evil.example/><button autofocus>press</button></form>",
    f'<a href="javascript:{MARK}">look</a>',
    f"javascript:{MARK}",
    "{{ 7*7 }} {% for a in b %} ${7*7} <%= 7*7 %>",
    "&lt;b&gt; and &#x3c;script&#x3e;",
    "\x1b[2J\x1b]0;acted\x07\x1b]8;;https://evil.example\x07",
    "true\rfalse",
    "a\u202egnp.exe\u202c\u2066b\u2069",
    "a\u2028b\u2029c",
    "a\x00b",
    "\ufeffa",
    "a\ud800b",
    "e\u0301" * 200,
    '<div class="line added"><span class="sign">+</span><ins>ours</ins></div>',
    "data:image/svg+xml,<svg onload=alert(1)>",
    "=1+1\n+1\n-1\n@A1",
    "<object data=https://evil.example/><embed src=https://evil.example/>",
    "<template><script>alert(1)</script></template><math><mi xlink:href=javascript:alert(1)>",
]
EVERYTHING = "\n".join(ATTACKS)
WIDTHS = {"wide": (1280, "light"), "narrow": (390, "light"), "dark": (1280, "dark")}


class Watched:
    """A page of the browser with all that it did."""

    def __init__(self, browser, width=1280, scheme="light", **context):
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, **context
        )
        self.page = self.context.new_page()
        self.requests, self.refused, self.problems = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "requestfailed",
            lambda request: self.refused.append((request.url, request.failure)),
        )
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append("a dialog"))

    def open(self, address):
        self.page.goto(address)
        # Whatever an attack has begun has happened when this is through.
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.context.close()


def written(tmp_path, page):
    path = tmp_path / "report.html"
    path.write_bytes(page.encode())
    return path.as_uri()


HARMLESS = """() => ({
    acted: window.acted === undefined && !document.title.startsWith("acted"),
    scripts: document.scripts.length,
    foreign: document.querySelectorAll(
        "iframe, img, form, base, link, object, embed, template, math").length,
    handlers: [...document.querySelectorAll("*")].filter(each =>
        [...each.attributes].some(a => a.name.startsWith("on"))).length,
    links: [...document.querySelectorAll("[href]")].map(a => a.getAttribute("href"))
        .filter(href => !/^#[a-z]+(-[0-9]+)?$/.test(href)).length,
    hidden: getComputedStyle(document.body).display,
})"""
SOUND = {"acted": True, "scripts": 1, "foreign": 0, "handlers": 0, "links": 0, "hidden": "block"}


def as_shown(text):
    """The text as it must stand in the page."""
    return readable(text)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: ascii(attack)[:24])
def test_no_text_acts_in_any_field(browser, tmp_path, attack):
    """From disk: nothing runs, loads or hides, and the text is there as it was written."""
    with Watched(browser, offline=True) as watched:
        watched.open(written(tmp_path, page_of(story_of_texts(attack))))
        assert watched.page.evaluate(HARMLESS) == SOUND
        assert (len(watched.requests), watched.problems) == (1, [])
        assert as_shown(attack) in watched.page.evaluate("document.body.textContent")


@pytest.mark.parametrize("spells", [True, False])
def test_escaping_alone_keeps_texts_harmless(browser, tmp_path, spells):
    """Without the policy, and without control characters being spelled out."""
    page = page_of(story_of_texts(EVERYTHING), environment=environment_with(spells=spells))
    bare = re.sub(r"<meta http-equiv=[^>]*>", "", page, count=1)
    assert "Content-Security-Policy" not in bare
    with Watched(browser) as watched:
        watched.open(written(tmp_path, bare))
        assert watched.page.evaluate(HARMLESS) == SOUND
        assert (len(watched.requests), watched.problems) == (1, [])


SCRIPTED = [attack for attack in ATTACKS if MARK in attack or "evil" in attack or "style" in attack]


@pytest.mark.parametrize(
    "attack",
    [attack for attack in SCRIPTED if "refresh" not in attack],
    ids=lambda attack: ascii(attack)[:24],
)
def test_the_policy_alone_stops_scripts_and_loading(browser, tmp_path, attack):
    """Where nothing is escaped, no foreign script or style takes effect and nothing is fetched."""
    page = page_of(story_of_texts(attack), environment=environment_with(escapes=False))
    with Watched(browser) as watched:
        watched.open(written(tmp_path, unescape_policy(page)))
        assert watched.page.evaluate("window.acted === undefined")
        assert watched.page.evaluate("getComputedStyle(document.body).display") == "block"
        assert {why for address, why in watched.refused if "evil" in address} <= {"csp"}


def unescape_policy(page):
    """The policy as an engine that does not escape writes it."""
    head, rest = page.split("<meta name=", 1)
    return f"{unescape(head)}<meta name={rest}"


def test_spelling_alone_leaves_no_sign_that_acts():
    """Where neither of the others is there, no control character is in the page."""
    page = page_of(story_of_texts(EVERYTHING), environment=environment_with(escapes=False))
    assert readable(page) == page


def test_it_works_without_script(browser, tmp_path):
    """All texts can be read and all parts be opened; what would need a script is not shown."""
    with Watched(browser, offline=True, java_script_enabled=False) as watched:
        watched.page.goto(written(tmp_path, page_of(story_of_texts("word"))))
        assert watched.page.locator("button:visible").count() == 0
        row = watched.page.locator("#proposal-1")
        row.locator("> summary").click()
        assert row.locator("pre").first.is_visible()
        watched.page.locator("label[for=curve-time]").click()
        assert watched.page.locator("svg.chart-time").is_visible()
        assert not watched.page.locator("svg.chart-calls").is_visible()


def test_the_script_filters_and_opens(browser, tmp_path):
    """Rows by kind; and whoever follows a link to a proposal finds it open."""
    with Watched(browser, offline=True) as watched:
        watched.open(written(tmp_path, page_of(story_of_texts("word"))))
        rows = watched.page.locator("[data-row=example]:visible")
        assert rows.count() == 3
        watched.page.locator("[data-filters=example] button[data-kind=worse]").click()
        assert rows.count() == 1
        watched.page.locator("#lineage a[href='#proposal-1']").click()
        watched.page.locator("#proposal-1[open]").wait_for()


def test_it_can_be_used_by_keyboard(browser, tmp_path):
    """The first stop is the way past what comes before; a part opens with the space bar."""
    with Watched(browser, offline=True) as watched:
        watched.open(written(tmp_path, page_of(story_of_texts("word"))))
        watched.page.keyboard.press("Tab")
        assert watched.page.evaluate("document.activeElement.className") == "skip"
        summary = watched.page.locator("#proposal-1 > summary")
        summary.focus()
        watched.page.keyboard.press("Space")
        watched.page.locator("#proposal-1[open]").wait_for()


@pytest.mark.parametrize("view", WIDTHS)
def test_it_is_accessible_and_fits(browser, tmp_path, view):
    """No rule of axe is broken, with all parts open, and nothing is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    width, scheme = WIDTHS[view]
    story = story_of_texts("a text of some words, and one thatisverylong" + "x" * 200)
    with Watched(browser, width=width, scheme=scheme, offline=True, bypass_csp=True) as watched:
        watched.open(written(tmp_path, page_of(story)))
        watched.page.screenshot(path=tmp_path / f"{view}.png", full_page=True)
        watched.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(watched.page)
        assert found.response["violations"] == [], found.generate_report()


def test_a_live_page_acts_no_more_than_one_on_disk(browser, monkeypatch, tmp_path):
    """And shows what is new: what was open stays so, and attacks that arrive later do nothing."""
    stories = [story_of_texts("word")]
    monkeypatch.setattr(live, "story_in", lambda _folder: stories[-1])
    journal = tmp_path / "events.jsonl"
    journal.write_text("one")
    with live.LiveServer(tmp_path) as server, Watched(browser) as watched:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            watched.open(server.address)
            watched.page.locator("#proposal-1 > summary").click()
            stories.append(dataclasses.replace(story_of_texts(EVERYTHING), headline="It is new."))
            journal.write_text("one, two")
            watched.page.locator("h1", has_text="It is new.").wait_for(timeout=60_000)
            assert watched.page.evaluate(HARMLESS) == SOUND
            watched.page.locator("#proposal-1[open]").wait_for()
            assert {each.split("?")[0] for each in watched.requests} == {server.address}
            assert watched.problems == []
        finally:
            server.shutdown()
            thread.join()


def test_a_long_diagnosis_is_opened_by_its_reader(browser, tmp_path):
    """It is folded at first, and a click or the keyboard shows all of it, near the top."""
    last = "And dates are the other way round."
    told = "The limit of steps is too small. " * 100 + last
    with Watched(browser, offline=True) as watched:
        watched.open(written(tmp_path, page_of(story_of_texts(told))))
        whole = watched.page.locator("header details", has_text=last).first
        inside = whole.locator("pre")
        assert not inside.is_visible()
        whole.locator("summary").click()
        assert inside.is_visible()
        assert inside.inner_text().strip() == told
        whole.locator("summary").press("Enter")
        assert not inside.is_visible()
        assert watched.problems == []
