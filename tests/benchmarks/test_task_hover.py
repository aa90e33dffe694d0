"""HoVer: three searches have to find all three articles."""

import dspy
import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import DataNotFound, load

TRIPLES = [("Ada Ford", "Lille", "Deule"), ("Bo Reed", "Ghent", "Leie"), ("Cy Lane", "Turin", "Po")]


def paragraphs(person, town, river):
    """Three articles, each of which leads to the next."""
    return {
        person: [f"{person} was a painter.", f" {person} was born in {town}."],
        town: [f"{town} is a town on the {river}."],
        river: [f"{river} is a river."],
    }


def claim(person, town, river):
    """A claim in the public schema."""
    facts = [{"key": title, "value": 0} for title in (person, town, river, river)]
    return {
        "uid": person,
        "claim": f"A river flows through the town where the painter {person} was born.",
        "supporting_facts": facts,
        "label": "SUPPORTED",
        "hpqa_id": person,
    }


def question(person, town, river):
    """A HotpotQA question of the hub; its paragraphs cover the claim made of it."""
    own = paragraphs(person, town, river)
    return {"id": person, "context": {"title": list(own), "sentences": list(own.values())}}


@pytest.fixture
def task(tmp_path):
    """The task over three claims about three articles, one about two, and one not covered."""
    corpus = {title: each for triple in TRIPLES for title, each in paragraphs(*triple).items()}
    short = {**claim(*TRIPLES[0]), "supporting_facts": claim(*TRIPLES[0])["supporting_facts"][:2]}
    claims = [*(claim(*triple) for triple in TRIPLES), short, claim("Ada Ford", "Lille", "Nowhere")]
    files = {
        "hover/hover_covered.jsonl": claims,
        "hotpotqa/corpus.jsonl.gz": [
            {"title": title, "sentences": each} for title, each in corpus.items()
        ],
    }
    return from_folder(tmp_path, "hover", files)


def test_the_program_searches_three_times(task):
    """The queries find what the notes lead to; all three articles found is a point."""
    gold = task.train[0]
    _, town, river = gold.gold
    prediction, _ = run(
        task,
        gold,
        {"reasoning": "r", "summary": f"The town is {town}."},
        {"reasoning": "r", "query": town},
        {"reasoning": "r", "summary": f"The river is {river}."},
        {"reasoning": "r", "query": river},
    )
    assert prediction.queries == [town, river]
    assert task.metric(gold, prediction).score == 1
    assert len(task.program.predictors()) == 4
    checked_shape(task)


def test_only_covered_claims_about_three_articles(task):
    """Claims about two articles, or about one that cannot be found, are left out."""
    examples = [*task.train, *task.validation, *task.test]
    assert sorted(tuple(each.gold) for each in examples) == sorted(TRIPLES)
    assert "closed corpus of 9 paragraphs" in task.origin.differs
    assert "the literature has 150/300/300 rows" in task.origin.differs


def test_one_article_missed(task):
    """No point; what each search found is named, and what the missed article says."""
    person, town, river = task.train[0].gold
    score, feedback = judged(task, task.train[0], hops=[[person, "other"], [town], []])
    assert score == 0
    assert f"Search 2 found of the wanted articles that were missing: '{town}'." in feedback
    assert f"'{river}' says: {river} is a river." in feedback


def test_nothing_is_left_for_the_last_search(task):
    """A search that had nothing to find is not blamed."""
    person, town, river = task.train[0].gold
    score, feedback = judged(task, task.train[0], hops=[[person], [town, river], ["other"]])
    assert score == 1
    assert "Before search 3 all wanted articles were found." in feedback


@pytest.mark.parametrize(
    ("step", "search"),
    [("summarize1", 2), ("create_query_hop2", 2), ("summarize2", 3), ("create_query_hop3", 3)],
)
def test_each_step_hears_of_its_search(task, step, search):
    """A note is judged, like the query that is written from it, by the search after it."""
    person, town, _ = task.train[0].gold
    pred = dspy.Prediction(hops=[[person], [town], []])
    verdict = task.metric(task.train[0], pred, None, f"{step}.predict", [])
    assert verdict.score == 0
    assert verdict.feedback.startswith(f"Search {search} found")
    assert f"Search {5 - search}" not in verdict.feedback


@pytest.mark.parametrize("hops", [*UNREADABLE, [None, 3], [["x"], None]])
def test_unreadable_hops(task, hops):
    """No point, no crash, and all articles are named."""
    score, feedback = judged(task, task.train[0], hops=hops)
    assert score == 0
    assert all(title in feedback for title in task.train[0].gold)


def test_claims_without_paragraphs_are_an_error(task, tmp_path, monkeypatch):
    """Claims in a folder that has no paragraphs: the error names the file of paragraphs."""
    (tmp_path / "hotpotqa" / "corpus.jsonl.gz").unlink()
    monkeypatch.setenv("DSPY_GEPA_DATA", str(tmp_path))
    with pytest.raises(DataNotFound, match=r"hotpotqa/corpus\.jsonl\.gz"):
        load("hover")


def test_the_same_claims_from_the_hub(monkeypatch):
    """Paragraphs are those of the claims' own questions, and those of the articles."""
    tables = {
        "hover-nlp/hover": [claim(*triple) for triple in TRIPLES],
        "hotpotqa/hotpot_qa": [*(question(*triple) for triple in TRIPLES), question("X", "Y", "Z")],
    }
    hub_of(monkeypatch, tables)
    task = load("hover")
    examples = [*task.train, *task.validation, *task.test]
    assert sorted(tuple(each.gold) for each in examples) == sorted(TRIPLES)
    assert len(task.program.index) == 9
