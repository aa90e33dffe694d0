"""HotpotQA: two searches over paragraphs, exact match, and what each step could have found."""

import copy

import dspy
import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

PAIRS = [("Ada Ford", "Lille", "1901"), ("Bo Reed", "Ghent", "1875"), ("Cy Lane", "Turin", "1760")]


def paragraphs(name, town, year):
    """Two articles: a person born in a town, and the town."""
    return {
        name: [f"{name} was a painter.", f" {name} was born in {town}."],
        town: [f"{town} is a town.", f" Its bridge was built in {year}."],
    }


def row(name, town, year):
    """A question in the public schema, as far as both the files and the hub have it."""
    return {
        "id": name,
        "question": f"When was the bridge built in the town where the painter {name} was born?",
        "answer": year,
        "supporting_facts": {"title": [name, town], "sent_id": [1, 1]},
    }


def hub_row(name, town, year):
    """A question in the schema of the hub: lists inside of dictionaries."""
    own = paragraphs(name, town, year)
    return {
        **row(name, town, year),
        "context": {"title": list(own), "sentences": list(own.values())},
    }


@pytest.fixture
def task(tmp_path):
    """The task over one question in each file."""
    corpus = {title: each for pair in PAIRS for title, each in paragraphs(*pair).items()}
    files = {
        "hotpotqa/train.jsonl": [row(*PAIRS[0])],
        "hotpotqa/dev.jsonl": [row(*PAIRS[1])],
        "hotpotqa/test.jsonl": [row(*PAIRS[2])],
        "hotpotqa/corpus.jsonl.gz": [
            {"title": title, "sentences": each} for title, each in corpus.items()
        ],
    }
    return from_folder(tmp_path, "hotpotqa", files)


REPLIES = [
    {"reasoning": "r", "summary": "She was born in Lille."},
    {"reasoning": "r", "query": "bridge of Lille"},
    {"reasoning": "r", "summary": "The bridge is of 1901."},
    {"reasoning": "r", "answer": "1901"},
]


def test_the_program_searches_twice(task):
    """The second search uses the query; the answer comes from the notes."""
    prediction, lm = run(task, task.train[0], *REPLIES)
    assert prediction.query == "bridge of Lille"
    assert prediction.hops[1][0] == "Lille"
    assert "The bridge is of 1901." in str(lm.history[3]["messages"])
    assert task.metric(task.train[0], prediction).score == 1
    assert [name for name, _ in task.program.named_predictors()] == [
        "summarize1.predict",
        "create_query_hop2.predict",
        "summarize2.predict",
        "final_answer.predict",
    ]
    checked_shape(task)


def test_copies_share_the_paragraphs(task):
    """A copy of the program, of which a search makes hundreds, has the same index."""
    assert task.program.deepcopy().index is task.program.index
    assert copy.deepcopy(task.program).index is task.program.index


@pytest.mark.parametrize("answer", ["1901", "the 1901", " 1901. "])
def test_right_answers(task, answer):
    """Case, articles and marks do not count."""
    assert judged(task, task.train[0], answer=answer)[0] == 1


@pytest.mark.parametrize("answer", ["1902", "in 1901", "1901 or 1902", "unknown"])
def test_wrong_answers(task, answer):
    """The feedback names the answer, the right one and what the wanted sentences say."""
    score, feedback = judged(task, task.train[0], answer=answer, hops=[["Ada Ford"], ["Ghent"]])
    assert score == 0
    assert f"The answer '{answer}' is wrong; the right one is '1901'." in feedback
    assert "missing: 'Ada Ford'. Still missing after it: 'Lille'." in feedback
    assert "'Lille' says: Its bridge was built in 1901." in feedback


@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers_and_hops(task, answer):
    """No point, no crash; the searches count as having found nothing."""
    score, feedback = judged(task, task.train[0], answer=answer, hops=answer)
    assert score == 0
    assert "the right one is '1901'" in feedback
    assert "Still missing after it: 'Ada Ford', 'Lille'." in feedback


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("summarize1", "keep of its passages"),
        ("create_query_hop2", "Still missing after it: 'Lille'. 'Lille' says: Its bridge"),
        ("summarize2", "'Ada Ford' says: Ada Ford was born in Lille."),
        ("final_answer", "The answer '1902' is wrong"),
    ],
)
def test_each_step_hears_of_itself(task, step, said):
    """Told a predictor's name, the feedback is that step's and the score the same."""
    pred = dspy.Prediction(answer="1902", hops=[["Ada Ford"], ["Turin"]])
    verdict = task.metric(task.train[0], pred, None, f"{step}.predict", [])
    assert verdict.score == 0
    assert said in verdict.feedback


def test_the_same_questions_from_the_hub(monkeypatch):
    """40 % are the test's, then 40 % validation's; paragraphs are those of the rows."""
    asked = hub_of(monkeypatch, {"hotpotqa/hotpot_qa": [hub_row(*pair) for pair in PAIRS]})
    task = load("hotpotqa")
    assert [each.answer for each in (task.train[0], task.validation[0], task.test[0])] == [
        "1760",
        "1875",
        "1901",
    ]
    assert len(task.program.index) == 6
    assert task.train[0].gold == {
        "Cy Lane": "Cy Lane was born in Turin.",
        "Turin": "Its bridge was built in 1760.",
    }
    assert "closed corpus of 6 paragraphs" in task.origin.differs
    assert len(asked) == 1
