"""The page of a run: what it says, and that nothing of it is anything but text."""

import dataclasses
import html
import re

import pytest
from made_story import story_of_texts

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.story.building import story_of
from dspy_gepa.story.teller import Teller
from dspy_gepa.story.wording import sentences
from dspy_gepa.testing.worlds import RuleWorld
from dspy_gepa.views.page import page as page_module
from dspy_gepa.views.page.charts import curves
from dspy_gepa.views.page.page import environment_with, page_of
from dspy_gepa.views.page.rows import PageRows
from dspy_gepa.views.page.shortening import Shortener


def searched(calls):
    """The story of a search in a world."""
    world = RuleWorld(pass_or_fail=True, rules=8)
    settings = Settings(
        train=tuple(range(20)),
        validation=tuple(range(20, 44)),
        limits=Limits(metric_calls=calls),
    )
    begun = start(settings, world.student)
    teller = Teller(begun)
    if calls:
        run_loop(begun, SerialExecutor(world), [teller.told])
    return story_of(teller)


def texts(page):
    """What a reader sees, tags left out."""
    body = page[page.index("<main") : page.index("</main>")]
    return html.unescape(re.sub(r"<[^>]*>", "", body))


def test_a_page_says_what_a_story_says():
    """The verdict, what every proposal came to, every member, and what was spent."""
    story = searched(200)
    page = texts(page_of(story))
    assert story.headline in page
    assert f"{story.total.metric_calls} metric calls" in page
    for member in story.members[1:]:
        assert f"kept as member {member.number}" in page
    for proposal in story.proposals:
        assert proposal.reason in page
    for purpose in story.spending:
        assert purpose in page


def test_a_run_that_has_not_begun_has_a_page():
    """Before anything is known the page says so, section by section."""
    page = texts(page_of(searched(0)))
    assert "not validated yet" in page
    assert "Nothing was spent yet" in page
    assert "Too little happened for a chart" in page


def test_what_got_worse_stands_first():
    """Examples are in the order: worse, better, same, not run by both."""
    page = page_of(story_of_texts("word"))
    kinds = re.findall(r'data-row="example" data-kind="(\w+)', page)
    assert kinds == ["worse", "better", "same"]


def test_every_text_of_a_story_is_shown():
    """Whatever field there is, its text stands in the page; but digests, which tell no one."""
    page = texts(page_of(story_of_texts("a text of its own")))
    assert page.count("a text of its own") > 60


def test_nothing_is_loaded_from_elsewhere():
    """There is no address in the page, and one script and one style, both in the policy."""
    page = page_of(story_of_texts("word"))
    assert re.findall(r"https?:|//|src=|url\(|@import", page.split("</style>")[1]) == []
    assert page.count("<script") == page.count("<style") == 1
    assert page.count("sha256-") == 2
    assert "default-src &#39;none&#39;" in page


def test_links_lead_to_numbers_only():
    """No link is made of a text."""
    page = page_of(story_of_texts("javascript:alert(1)"))
    links = re.findall(r'href="([^"]*)"', page)
    assert links
    assert all(re.fullmatch(r"#[a-z]+(-\d+)?", link) for link in links)


@pytest.mark.parametrize("sign", ["\x00", "\x1b[2J", "\r", "\x9b", "\u202e", "\u2066", "\ud800"])
def test_control_characters_are_spelled_out(sign):
    """What would act or hide is written as its number, also where nothing is escaped."""
    page = page_of(story_of_texts(f"a{sign}b"), environment=environment_with(escapes=False))
    assert sign[0] not in page
    assert f"a{ascii(sign)[1:-1]}b" in page


def test_a_page_can_always_be_encoded():
    """Lone surrogates too, where they are not spelled out."""
    page = page_of(story_of_texts("\ud800"), environment=environment_with(spells=False))
    assert page.encode()


def test_what_is_escaped_stays_as_it_was_written():
    """An entity in a text is shown as an entity."""
    page = page_of(story_of_texts("&lt;b&gt; &#x3c;"))
    assert "&amp;lt;b&amp;gt; &amp;#x3c;" in page


@pytest.mark.parametrize("text", ["x" * 200_000, "line\n" * 10_000, "e\u0301" * 50_000, ""])
def test_any_text_makes_a_small_page(text):
    """Long texts are shortened, and that is said, so that a page stays readable."""
    page = page_of(story_of_texts(text))
    assert len(page.encode()) < 5_000_000
    assert ("Shortened by" in page) == bool(text)


@pytest.mark.parametrize("sizes", [[10] * 5, [10_000, 10, 20], [1_000] * 100, [5, 8_000] * 50])
def test_long_texts_give_way_to_short_ones(sizes):
    """With the size that is found all texts together are no longer than asked for, or 200 each."""
    shortener = Shortener()
    for size in sizes:
        shortener("x" * size)
    fitting = shortener.fitting(10_000)
    again = [fitting("x" * size).left_out for size in sizes]
    assert fitting.total <= max(10_000, 200 * len(sizes))
    assert all(not left for left, size in zip(again, sizes, strict=True) if size <= 100)


def test_what_the_page_says_of_chance_is_of_one_side():
    """Two better of two: a member that is no better looks so in a quarter of runs."""
    story = story_of_texts("word")
    comparison = dataclasses.replace(story.comparison, better=(0, 1), worse=(), same=())
    rows = PageRows(dataclasses.replace(story, comparison=comparison, members=story.members[:2]))
    assert "the one member beside the seed" in rows.chance
    assert "in up to 25 % of runs" in rows.chance


def test_dots_lie_on_what_was_estimated_when_members_joined():
    """As the lines do, and not on what later scores say of the same member."""
    story = searched(200)
    (curve, *_) = curves(story)
    best = [pair.split(",") for pair in curve.best.split()]
    leading = [m.member for m in story.curve if m.member is not None and m.best == m.member]
    for dot in curve.dots:
        if dot.member in leading:
            assert [str(dot.x), str(dot.y)] in best


def test_proposals_are_counted_without_the_seed():
    """The counts of the filters are those of the attempts, the seed standing apart."""
    rows = PageRows(story := searched(200))
    counts = rows.verdicts()
    assert counts.pop("the seed") == 1
    assert counts["accepted"] == rows.kept
    assert sum(counts.values()) == len(story.proposals) - 1


def test_what_the_reflection_said_stands_near_the_top_in_whole_sentences():
    """Its diagnosis, with how many examples it rests on; no sentence is cut."""
    story = story_of_texts("The limit of steps is too small. " * 30)
    page = texts(page_of(story))
    top = page[page.index("What the reflection said") : page.index("What changed")]
    assert "The limit of steps is too small." in top
    assert "..." not in top
    assert sentences("One. Two three. Four", 12) == "One."
    assert sentences("No end here at all", 5) == "No end here at all"


@pytest.mark.parametrize("most", [900_000, 1])
def test_what_the_reflection_said_can_be_read_whole(monkeypatch, most):
    """Where it is named and where its proposal stands, to its last sentence; also in a page that is
    too long and shortens its prompts."""
    monkeypatch.setattr(page_module, "_MOST_BYTES", most)
    monkeypatch.setattr(page_module, "_FEWEST_CHARACTERS", 1)
    last = "And dates are the other way round."
    told = "The limit of steps is too small. " * 100 + last
    story = story_of_texts(told)
    page = texts(page_of(story))
    top = page[page.index("What the reflection said") : page.index("What changed")]
    assert "The whole diagnosis" in top
    assert last in top
    rest = page[page.index("Every proposal") :]
    assert last in rest[rest.index("Diagnosis: what goes wrong") :][: len(told) + 200]
    short = texts(page_of(story_of_texts("One sentence.")))
    assert "The whole diagnosis" not in short
    assert "All of that" not in short
