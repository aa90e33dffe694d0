"""What a run directory keeps so that a person can see why: prompts, replies, examples, answers."""

import dspy
import label_task
import pytest
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, load_run
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Reflected
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import Exchange, ReflectionAnswer
from dspy_gepa.story.teller import Teller

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(8)


def story_of_run(folder, **asked):
    """The story of a run that was kept in this directory."""
    given = {"max_metric_calls": 60, "num_threads": 1, "reflection_lm": label_task.reflection_lm()}
    optimizer = GEPA(label_task.metric, log_dir=str(folder), **{**given, **asked})
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return load_run(folder).story


def hesitating_lm():
    """A reflection LM whose first reply has nothing in it that could be used."""
    answers = label_task.reflection_lm()
    replies = []

    def reply(prompt):
        replies.append(prompt)
        if len(replies) == 1:
            return "<diagnosis>It is hard.</diagnosis>\n<new_text></new_text>"
        return answers(prompt)[0]

    return scripted_lm(reply)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return story_of_run(tmp_path_factory.mktemp("runs") / "run")


def reflected(story):
    return [each for each in story.proposals if each.exchanges]


def test_prompts_and_replies_are_there(story):
    """What the reflection LM was shown, and what it said, as it was."""
    (first, *_) = reflected(story)
    (exchange,) = first.exchanges
    assert "Something about the" in exchange.prompt
    assert "means" in exchange.reply
    assert (exchange.components, exchange.refused) == (("self",), "")


def test_so_are_replies_that_were_refused(tmp_path):
    """With the reason, before the one that was taken."""
    first = reflected(story_of_run(tmp_path / "run", reflection_lm=hesitating_lm()))[0]
    assert len(first.exchanges) == 2
    refused, taken = first.exchanges
    assert refused.refused
    assert (bool(taken.reply), taken.refused) == (True, "")


def test_what_a_proposer_of_the_users_asks_is_seen_too(tmp_path):
    """It says nothing of it, but its model is one of DSPy's."""

    def propose(candidate, reflective_dataset, components_to_update):
        asked = dspy.Predict("question -> text")(question=f"Better than {candidate['self']}?")
        return dict.fromkeys(components_to_update, asked.text)

    lm = scripted_lm(lambda _prompt: "[[ ## text ## ]]\nA better one.\n[[ ## completed ## ]]")
    story = story_of_run(tmp_path / "run", instruction_proposer=propose, reflection_lm=lm)
    exchange = reflected(story)[0].exchanges[0]
    assert "Better than" in exchange.prompt
    assert "A better one." in exchange.reply


def test_examples_are_described(story):
    """By their fields, those that the program is given apart; equal examples have equal digests."""
    example = story.examples[story.members[0].tops[0] if story.members[0].tops else 0]
    assert example.inputs.keys() == {"message"}
    assert example.expected.keys() == {"code"}
    assert len({each.digest for each in story.examples.values()}) == len(story.examples)


def test_who_does_not_want_them_kept_has_none(tmp_path):
    """There is no file of them, and the story says that they are not known."""
    story = story_of_run(tmp_path / "run", log_examples=False)
    assert not (tmp_path / "run" / "examples.jsonl").exists()
    assert {each.inputs for each in story.examples.values()} == {None}


def test_answers_are_kept(story):
    """Of every member on every validation example that it was run on, with what was said of it."""
    for member in story.members:
        for answer in member.answers.values():
            assert answer.output.keys() == {"code"}
            assert "means" in answer.feedback
            assert answer.seconds is None or answer.seconds > 0


def test_what_it_cost_is_told_in_full(story):
    """Prompt and completion tokens add up to all tokens; a model without a price is counted."""
    total = story.total
    assert total.prompt_tokens + total.completion_tokens == total.total_tokens > 0
    assert total.unpriced_calls > 0
    assert story.total.seconds > 0


def test_when_it_happened_is_told(story):
    """Every proposal has its time, in order, within its session."""
    (session,) = story.sessions
    times = [each.ended_at for each in story.proposals]
    assert times == sorted(times)
    assert session.opened_at <= times[0] <= times[-1] <= session.closed_at


def test_new_texts_are_what_replies_gave(story):
    """The change of a proposal that was kept is against its parent's text."""
    kept = [each for each in story.proposals if each.member]
    for each in kept:
        parent = story.members[each.parents[0]]
        assert [change.before for change in each.changes] == [*parent.texts.values()]


def test_calls_of_a_reflection_that_ran_side_by_side_count_each():
    """What reflections worked is the sum of what is said of each of their calls."""
    state = start(Settings(train=(0,), validation=(1,), limits=Limits()), Candidate({"self": "a"}))
    teller = Teller(state)
    calls = tuple(Exchange(components=(name,), seconds=60.0) for name in ("one", "two"))
    teller.told(Reflected(ReflectionAnswer(1, {}, seconds=61.0, exchanges=calls)), state)
    assert teller.spending["reflections"].seconds == 120.0
