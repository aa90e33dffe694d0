"""HoVer: find the three articles that a claim is about, in three searches; no verdict is asked."""

from __future__ import annotations

from collections.abc import Container, Sequence
from random import Random
from typing import Any

import dspy
from multihop import (
    HOTPOTQA,
    closed,
    corpus,
    facts,
    hop_feedback,
    missing,
    paragraphs_of,
    published_split,
    read_hops,
    retrieved,
)
from retrieval import Index, shown, spelled

from tasks import Hub, Source, Splits, Task, graded, stepwise_metric, task_of

__all__ = ["ThreeSearches", "grade", "task"]

SIZES = (150, 300, 300)
COLUMNS = ("claim", "supporting_facts", "hpqa_id")
CLAIMS = Hub("hover-nlp/hover", "train", parquet="default/train/*.parquet")
FOUND = (7, 7, 10)
"""How many paragraphs each search finds."""


class ThreeSearches(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """Search, note, search, note, search."""

    def __init__(self, index: Index) -> None:
        super().__init__()
        self.index = index
        self.summarize1 = dspy.ChainOfThought("claim, passages -> summary")
        self.create_query_hop2 = dspy.ChainOfThought("claim, summary_1 -> query")
        self.summarize2 = dspy.ChainOfThought("claim, context, passages -> summary")
        self.create_query_hop3 = dspy.ChainOfThought("claim, summary_1, summary_2 -> query")

    def forward(self, claim: str) -> dspy.Prediction:
        """The titles that each search found, and the queries."""
        first = self.index.search(claim, FOUND[0])
        one = self.summarize1(claim=claim, passages=shown(first)).summary
        query = self.create_query_hop2(claim=claim, summary_1=one).query
        second = self.index.search(str(query), FOUND[1])
        two = self.summarize2(claim=claim, context=one, passages=shown(second)).summary
        last = self.create_query_hop3(claim=claim, summary_1=one, summary_2=two).query
        third = self.index.search(str(last), FOUND[2])
        return dspy.Prediction(queries=[query, last], hops=retrieved([first, second, third]))


def task(source: Source, seed: int = 0) -> Task:
    """150, 300 and 300 claims about three articles, or all that the paragraphs cover."""
    del seed
    found = source.find("hover", "hover_covered.jsonl", COLUMNS, elsewhere=CLAIMS)
    if found.is_local:
        index = corpus(source)
        splits = drawn(covered(found.rows, index.by_title))
        return made(index, splits, found.source, ["claims of the development set"])
    ids = {row["hpqa_id"] for row in found.rows if len(titles(row)) == 3}

    def pick(rows: Sequence[Any]) -> list[int]:
        return [number for number, row in enumerate(rows) if row["id"] in ids]

    columns = ("id", "context")
    questions = source.find("hotpotqa", "contexts.jsonl", columns, elsewhere=HOTPOTQA, pick=pick)
    everything = paragraphs_of(questions.rows)
    splits = drawn(covered(found.rows, everything))
    chosen = [row for split in splits for row in split]
    asked = {row["hpqa_id"] for row in chosen}
    near = paragraphs_of(row for row in questions.rows if row["id"] in asked)
    wanted = {title: everything[title] for row in chosen for title in titles(row)}
    index = Index({**near, **wanted}.values())
    return made(index, splits, f"{found.source}, and paragraphs of {questions.source}", [])


def titles(row: dict[str, Any]) -> list[str]:
    """The articles that a claim is about, each once."""
    return list(dict.fromkeys(spelled(fact["key"]) for fact in row["supporting_facts"]))


def covered(rows: Sequence[dict[str, Any]], known: Container[str]) -> list[dict[str, Any]]:
    """The claims about three articles, all of which can be found."""
    wanted = [(row, titles(row)) for row in rows]
    return [row for row, each in wanted if len(each) == 3 and all(name in known for name in each)]


def drawn(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Claims for training, validation and test, drawn as in the article."""
    Random(0).shuffle(rows)
    return [[rows[number] for number in split] for split in published_split(len(rows), SIZES)]


def made(
    index: Index, splits: Sequence[Sequence[dict[str, Any]]], place: str, differs: list[str]
) -> Task:
    """The task over these paragraphs and claims."""
    examples = [[example(row, index) for row in split] for split in splits]
    return task_of(
        "HoVer, claims about three articles",
        ThreeSearches(index),
        Splits(*examples),
        grade,
        source=place,
        licence="MIT (HoVer), CC BY-SA 4.0 (paragraphs)",
        published=SIZES,
        differs=[closed(index), *differs],
    )


def example(row: dict[str, Any], index: Index) -> dspy.Example:
    """A claim as an example; `gold` is what each article says."""
    gold = {title: "".join(index.by_title[title].sentences).strip() for title in titles(row)}
    return dspy.Example(claim=row["claim"], gold=gold).with_inputs("claim")


@stepwise_metric
def grade(gold: dspy.Example, pred: Any, step: str) -> dspy.Prediction:
    """1 if the three searches found all three articles."""
    hops = read_hops(getattr(pred, "hops", None))
    # A note serves the query that is written from it, and is judged by the search after it.
    hop = {"summarize1": 1, "create_query_hop2": 1, "summarize2": 2, "create_query_hop3": 2}
    asked = [hop[step]] if step in hop else [0, 1, 2]
    remarks = [hop_feedback(gold.gold, hops, number) for number in asked]
    # What is told of a step is what was missing when its search was over.
    missed = missing(gold.gold, hops[: asked[-1] + 1])
    remarks.append(facts(gold.gold, missed))
    return graded(float(not missing(gold.gold, hops)), " ".join(remarks).strip())
