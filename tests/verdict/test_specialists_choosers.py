"""What chooses the member for an input, and what becomes of a choice that names none."""

import asyncio
import json
import warnings

import dspy
import label_task
import pytest
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA, Specialists
from dspy_gepa.errors import SettingsError
from dspy_gepa.specialists.choosers import CHOOSERS, Chooser
from dspy_gepa.specialists.routing import Routing

MESSAGES = {"a bill": "Q7", "a lock": "K2"}


def made(chooser, count=2):
    """Members that answer with their own rule, without a search."""
    student = dspy.Predict("message -> code")
    members = [
        dspy.Predict(student.signature.with_instructions(f"{topic} means {code}."))
        for topic, code in [*label_task.CODES.items()][:count]
    ]
    table = [("message: money bill", [1.0, 0.0, 0.0]), ("message: door lock", [0.0, 1.0, 0.0])]
    table = [(words, scores[:count]) for words, scores in table]
    return Specialists(student, members, table, chooser=chooser)


def asked(program, message, *, is_awaited=False):
    """The code that it answers with."""
    if is_awaited:
        return asyncio.run(program.acall(message=message)).code
    return program(message=message).code


def member_lm(choose):
    """A model that answers as a member from its rule, and else with what `choose` returns."""

    def reply(prompt):
        if " means " not in prompt:  # Only members are told that. DSPy asks again for JSON.
            return choose(prompt)
        return answer(code="Q7" if "bill means" in prompt else "K2")

    return scripted_lm(reply)


def test_a_function_chooses():
    """By the inputs, as they were given."""
    program = made(lambda inputs: int("lock" in inputs["message"]))
    with dspy.context(lm=label_task.task_lm()):
        assert {message: asked(program, message) for message in MESSAGES} == MESSAGES


@pytest.mark.parametrize("named", [2, -1, None, "none of them", True, 0.0])
@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_function_that_names_no_member_is_named(named, is_awaited):
    """With what it returned and what is allowed: a mistake of the user's own is no reply."""

    def my_chooser(_inputs):
        return named

    with pytest.raises(ValueError, match=r"my_chooser returned .*no member.*from 0 to 1"):
        asked(made(my_chooser), "a bill", is_awaited=is_awaited)


def test_a_model_chooses():
    """It is shown the table as demonstrations, without the scores."""
    seen = []

    def choose(prompt):
        seen.append(prompt)
        inputs = prompt.rsplit("[[ ## inputs ## ]]", 1)[1]
        return answer(member="member 0" if "bill" in inputs else "Member 1, for locks.")

    program = made("lm")
    with dspy.context(lm=member_lm(choose)):
        assert {message: asked(program, message) for message in MESSAGES} == MESSAGES
    assert "money bill" in seen[0]
    assert "scores" not in seen[0]


def test_most_members_or_a_judge_decide():
    """All are run; of equal votes the better member's answer counts."""
    with dspy.context(lm=label_task.task_lm()):
        assert made("vote")(message="a bill").code == "Q7"
        assert made("vote", 3)(message="a bill").code == "unknown"

    def reply(prompt):
        if "[[ ## answers ## ]]" in prompt:
            lines = prompt.rsplit("[[ ## answers ## ]]", 1)[1].splitlines()
            return answer(best=next(line[0] for line in lines if "code: K2" in line))
        message = prompt.rsplit("[[ ## message ## ]]", 1)[1]
        return answer(code="K2" if "lock means" in prompt and "lock" in message else "unknown")

    program = made("judge", 3)
    assert "judge" in dict(program.named_predictors())
    with dspy.context(lm=scripted_lm(reply)):
        assert program(message="a lock").code == "K2"


@pytest.mark.parametrize("chooser", ["nearest", "vote"])
def test_they_can_be_awaited(chooser):
    """As any DSPy program."""
    with dspy.context(lm=label_task.task_lm()):
        assert asked(made(chooser), "money bill", is_awaited=True) == "Q7"


@pytest.mark.parametrize(
    "reply",
    [
        "no fields at all",
        "",
        *(answer(member=each, best=each) for each in ("nobody", "2", "both of them", "")),
    ],
)
@pytest.mark.parametrize("chooser", ["lm", "judge"])
@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_reply_that_names_no_member_leaves_the_best_one(chooser, is_awaited, reply):
    """Whether it can be read or not. That is said once for each program, with the reply."""
    program = made(chooser)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with dspy.context(lm=member_lm(lambda _prompt: reply)):
            codes = [asked(program, "a lock", is_awaited=is_awaited) for _ in range(3)]
    assert codes == ["Q7"] * 3
    ours = [str(each.message) for each in told if "names no member" in str(each.message)]
    assert len(ours) == 1
    assert f"chooser={chooser!r}" in ours[0]
    assert any(each in ours[0] for each in (reply or "said once. ", "returned "))


@pytest.mark.parametrize("chooser", ["lm", "judge"])
@pytest.mark.parametrize("is_awaited", [False, True])
def test_what_a_server_raises_reaches_the_caller(chooser, is_awaited):
    """An outage is no reply."""

    def down(prompt):
        raise ConnectionError("down")

    with dspy.context(lm=member_lm(down)), pytest.raises(Exception, match="down"):
        asked(made(chooser), "a lock", is_awaited=is_awaited)


def test_a_new_chooser_is_one_entry(monkeypatch):
    """It is given by its name, chooses, and the routing says how its gain was measured."""
    shortest = Chooser(
        "all members answered, and the shortest answer counted",
        lambda _program, answers, **_inputs: min(range(3), key=lambda n: len(answers[n].code)),
        runs_all=True,
    )
    with pytest.raises(SettingsError, match="'nearest', 'lm', 'vote', 'judge', or a function"):
        GEPA(lambda gold, pred: 1.0, specialists=2, chooser="shortest")
    monkeypatch.setitem(CHOOSERS, "shortest", shortest)
    optimizer = GEPA(lambda gold, pred: 1.0, specialists=2, chooser="shortest", auto="light")
    examples = label_task.examples(20)
    with dspy.context(lm=label_task.task_lm()):
        plan = optimizer.plan(dspy.Predict("message -> code"), examples[:10], examples[10:])
        assert made("shortest", 3)(message="a lock").code == "K2"
    assert plan.specialists > 10
    routing = Routing(evidence=True, members=(0, 2), chooser="shortest")
    assert "the shortest answer counted" in str(routing)
    assert "all of them: members 0, 2" in str(routing)


def saved(predictor, **fields):
    """The state of a predictor in a file."""
    described = [{"prefix": f"{n.title()}:", "description": d} for n, d in fields.items()]
    return {
        "traces": [],
        "train": [],
        "demos": [],
        "signature": {"instructions": predictor, "fields": described},
        "lm": None,
    }


@pytest.mark.parametrize("chooser", ["nearest", "lm", "vote", "judge"])
def test_the_format_of_saved_programs_stands(chooser):
    """Files of every version hold this, so that each reads what the others wrote."""
    member, number = (
        {"message": "${message}", "code": "${code}"},
        "the number of {}, for instance 0",
    )
    best = "Name the member that does best on inputs like these, by its number."
    router = saved(best, inputs="${inputs}", member=number.format("a member"))
    router["demos"] = [
        {"inputs": "message: money bill", "member": "0", "scores": [1.0, 0.0], "shrinkage": 2.0},
        {"inputs": "message: door lock", "member": "1", "scores": [0.0, 1.0], "shrinkage": 2.0},
    ]
    state = {
        "members[0]": saved("bill means Q7.", **member),
        "members[1]": saved("lock means K2.", **member),
        "router": router,
    }
    if chooser == "judge":
        state["judge"] = saved(
            "Several programs answered the same inputs. Name the best answer, by its number.",
            inputs="${inputs}",
            answers="${answers}",
            best=number.format("an answer"),
        )
    assert json.dumps(made(chooser).dump_state()) == json.dumps(state)
    program = Specialists(dspy.Predict("message -> code"), chooser=chooser)
    program.load_state(state)
    assert program.dump_state() == state
    assert [program.chosen(message=each) for each in MESSAGES] == [0, 1]
