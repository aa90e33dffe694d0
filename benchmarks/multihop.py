"""What HotpotQA and HoVer share: paragraphs to search, and what is said of a search's hops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from retrieval import Index, Paragraph, paragraph
from task_source import Hub, Row, Source

__all__ = [
    "HOTPOTQA",
    "PLACE",
    "closed",
    "corpus",
    "facts",
    "hop_feedback",
    "missing",
    "paragraphs_of",
    "published_split",
    "read_hops",
    "retrieved",
    "shortened",
]

# The training rows of "fullwiki" and "distractor" are the same ones, with ten paragraphs each.
HOTPOTQA = Hub("hotpotqa/hotpot_qa", "train", parquet="fullwiki/train/*.parquet")
PLACE = "hotpotqa.github.io; the README of the benchmarks says which form the files have"


def corpus(source: Source) -> Index:
    """The paragraphs of the folder."""
    found = source.find("hotpotqa", "corpus.jsonl.gz", ("title", "sentences"), elsewhere=PLACE)
    return Index(paragraph(row["title"], row["sentences"]) for row in found.rows)


def paragraphs_of(rows: Iterable[Row]) -> dict[str, Paragraph]:
    """The paragraphs that stand in rows of the hub, by their titles."""
    found = [
        paragraph(title, sentences)
        for row in rows
        for title, sentences in zip(
            row["context"]["title"], row["context"]["sentences"], strict=True
        )
    ]
    return {each.title: each for each in found}


def shortened(answer: Any) -> str:
    """An answer as feedback quotes it."""
    text = "" if answer is None else str(answer).strip()
    return text if len(text) <= 200 else f"{text[:200]} ..."


def closed(index: Index) -> str:
    """How the task differs from the literature's, which searches all of Wikipedia."""
    return f"closed corpus of {len(index):,} paragraphs in place of all of Wikipedia"


def published_split(count: int, sizes: Sequence[int]) -> list[list[int]]:
    """Which of so many rows are for training, validation and test, as the article drew them.

    The first 40 % are the test's, the next 40 % validation's, the rest is training's; of each so
    many are drawn.
    """
    first, second = int(0.4 * count), 2 * int(0.4 * count)
    pools = (range(second, count), range(first, second), range(first))
    drawn = zip(pools, sizes, strict=True)
    return [Random(1).sample(pool, min(size, len(pool))) for pool, size in drawn]


def retrieved(hops: Sequence[Sequence[Paragraph]]) -> list[list[str]]:
    """The titles that each hop found."""
    return [[each.title for each in hop] for hop in hops]


def read_hops(hops: Any) -> list[list[str]]:
    """The titles that each search found; none where a prediction has no such lists."""
    is_list = isinstance(hops, (list, tuple))
    return [list(hop) if isinstance(hop, (list, tuple)) else [] for hop in hops] if is_list else []


def hop_feedback(gold: Mapping[str, str], hops: Sequence[Sequence[str]], hop: int) -> str:
    """What one search found of the wanted articles, and which are still missing after it.

    `gold` is the wanted text of each title; `hops` are the titles found, search by search.
    """
    before = [title for titles in hops[:hop] for title in titles]
    now = list(hops[hop]) if hop < len(hops) else []
    new = [title for title in gold if title in now and title not in before]
    left = missing(gold, hops[: hop + 1])
    if not new and not left:
        return f"Before search {hop + 1} all wanted articles were found."
    return (
        f"Search {hop + 1} found of the wanted articles that were missing: {listed(new)}. "
        f"Still missing after it: {listed(left)}."
    )


def facts(gold: Mapping[str, str], titles: Iterable[str]) -> str:
    """What these articles say."""
    return " ".join(f"'{title}' says: {gold[title]}" for title in titles)


def missing(gold: Mapping[str, str], hops: Sequence[Sequence[str]]) -> list[str]:
    """The wanted articles that none of these searches found."""
    found = {title for hop in hops for title in hop}
    return [title for title in gold if title not in found]


def listed(titles: Sequence[str]) -> str:
    """Titles in quotation marks."""
    return ", ".join(f"'{title}'" for title in titles) or "none"
