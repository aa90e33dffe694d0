"""HotpotQA: a question whose answer stands in two articles; the second search has its own query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import dspy
from dspy.evaluate import normalize_text
from multihop import (
    HOTPOTQA,
    PLACE,
    closed,
    corpus,
    facts,
    hop_feedback,
    missing,
    paragraphs_of,
    published_split,
    read_hops,
    retrieved,
    shortened,
)
from retrieval import Index, shown, spelled

from tasks import Found, Source, Splits, Task, cut, graded, stepwise_metric, task_of

__all__ = ["MultiHop", "grade", "task"]

SIZES = (150, 300, 300)
COLUMNS = ("question", "answer", "supporting_facts")
FILES = ("train.jsonl", "dev.jsonl", "test.jsonl")


class MultiHop(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """Search, note, search for what is missing, note, answer from the notes."""

    def __init__(self, index: Index) -> None:
        super().__init__()
        self.index = index
        self.summarize1 = dspy.ChainOfThought("question, passages -> summary")
        self.create_query_hop2 = dspy.ChainOfThought("question, summary_1 -> query")
        self.summarize2 = dspy.ChainOfThought("question, context, passages -> summary")
        self.final_answer = dspy.ChainOfThought("question, summary_1, summary_2 -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """The answer, the second query, and the titles that each search found."""
        first = self.index.search(question, 7)
        one = self.summarize1(question=question, passages=shown(first)).summary
        query = self.create_query_hop2(question=question, summary_1=one).query
        second = self.index.search(str(query), 7)
        two = self.summarize2(question=question, context=one, passages=shown(second)).summary
        answer = self.final_answer(question=question, summary_1=one, summary_2=two).answer
        return dspy.Prediction(answer=answer, query=query, hops=retrieved([first, second]))


def task(source: Source, seed: int = 0) -> Task:
    """150, 300 and 300 questions, the same ones for every seed."""
    del seed
    drawn: list[list[int]] = []

    def pick(rows: Sequence[Any]) -> list[int]:
        drawn.extend(published_split(len(rows), SIZES))
        return [number for split in drawn for number in split]

    found = source.find("hotpotqa", FILES[0], COLUMNS, elsewhere=HOTPOTQA, pick=pick)
    if found.is_local:
        return from_folder(source, found)
    index = Index(paragraphs_of(found.rows).values())
    splits = cut([example(row, index) for row in found.rows], [len(split) for split in drawn])
    return made(index, splits, found.source, [])


def from_folder(source: Source, first: Found) -> Task:
    """The task over the files of a folder, which hold another sample of the questions."""
    others = [source.find("hotpotqa", file, COLUMNS, elsewhere=PLACE) for file in FILES[1:]]
    index = corpus(source)
    splits = [
        [example(row, index) for row in found.rows[:size]]
        for found, size in zip([first, *others], SIZES, strict=True)
    ]
    place = f"the folder's hotpotqa/{', '.join(FILES)}"
    return made(index, Splits(*splits), place, ["another sample of the questions"])


def made(index: Index, splits: Splits, place: str, differs: list[str]) -> Task:
    """The task over these paragraphs and examples."""
    return task_of(
        "HotpotQA",
        MultiHop(index),
        splits,
        grade,
        source=place,
        licence="CC BY-SA 4.0",
        published=SIZES,
        differs=[closed(index), *differs],
    )


def example(row: dict[str, Any], index: Index) -> dspy.Example:
    """A row as an example; `gold` is what the wanted sentences of each wanted article say."""
    named = row["supporting_facts"]
    gold: dict[str, str] = defaultdict(str)
    for title, number in zip(map(spelled, named["title"]), named["sent_id"], strict=True):
        sentences = index.by_title[title].sentences if title in index.by_title else ()
        gold[title] += sentences[number] if number < len(sentences) else ""
    return dspy.Example(
        question=row["question"],
        answer=row["answer"],
        gold={title: text.strip() for title, text in gold.items()},
    ).with_inputs("question")


@stepwise_metric
def grade(gold: dspy.Example, pred: Any, step: str) -> dspy.Prediction:
    """1 if the answer is the right one but for case, articles and marks."""
    answer, hops = getattr(pred, "answer", None), read_hops(getattr(pred, "hops", None))
    is_right = isinstance(answer, str) and normalize_text(answer) == normalize_text(gold.answer)
    verdict = "right" if is_right else f"wrong; the right one is '{gold.answer}'"
    ending = f"The answer '{shortened(answer)}' is {verdict}."
    context = facts(gold.gold, gold.gold)
    note = f"The summary should keep of its passages what answers the question. {context}"
    query = hop_feedback(gold.gold, hops, 1)
    remarks = {
        "summarize1": note,
        "create_query_hop2": f"{query} {facts(gold.gold, missing(gold.gold, hops[:2]))}".strip(),
        "summarize2": note,
        "final_answer": f"{ending} {context}",
    }
    whole = f"{ending} {hop_feedback(gold.gold, hops, 0)} {query} {context}"
    return graded(float(is_right), remarks.get(step, whole))
