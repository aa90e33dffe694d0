"""Better sources: what a code proposer is shown, how it is called, what becomes of its sources."""

from __future__ import annotations

import functools

import dspy
import pytest
from flex_programs import BASELINE, BROKEN, CRASHING, SHOUTING, Both, flex
from scripted_engine import AuthError, answer, scripted_lm

from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionAnswer, ReflectionRequest
from dspy_gepa.errors import WrongType
from dspy_gepa.program.components.kinds import parts_of
from dspy_gepa.program.program import components_of
from dspy_gepa.program.proposers.code_proposer import CodeProposer
from dspy_gepa.program.proposers.reflection import ReflectionByKind, Ruled
from dspy_gepa.reflect.rules import Rules

GIVEN, SAID = {"question": "a"}, {"answer": "a"}
WRONG = Rollout(0.0, "say A", trace=Trace(GIVEN, SAID, (Step("code", GIVEN, SAID),)))
CRASHED = Rollout(
    0.0, failure="by zero", trace=Trace(GIVEN, {}, (Step("code", GIVEN, {}, failure="by zero"),))
)


def request(*rollouts, components=("code",), student=None):
    evidence = tuple(Evidence(i, rollout) for i, rollout in enumerate(rollouts or (WRONG,)))
    return ReflectionRequest(7, components_of(student or Both()), components, evidence)


class Noting:
    """A code proposer that keeps what it was shown, and always says the same; counts as false."""

    def __init__(self, **sources):
        self.sources = sources or {"code": SHOUTING}
        self.shown = []

    def __call__(
        self,
        candidate,
        reflective_dataset,
        components_to_update,
        task_descriptions,
        context_blurbs,
    ):
        self.shown.append((candidate, reflective_dataset, components_to_update))
        self.told = (task_descriptions, context_blurbs)
        return self.sources

    def __bool__(self):
        return False


def records(*rollouts):
    """What a proposer is shown of these rollouts."""
    return CodeProposer(None, Both()).dataset(request(*rollouts))["code"]


def test_a_proposer_is_called_as_dspy_calls_it():
    """Five keywords; the texts of all components, records of those that are to be rewritten."""
    proposer = Noting()
    said = CodeProposer(proposer, Both())(request(), {}, {})
    assert said == ReflectionAnswer(7, {"code": SHOUTING})
    ((candidate, dataset, components),) = proposer.shown
    assert candidate == dict(components_of(Both()))
    assert components == ["code"]
    assert dataset == {
        "code": [{"Inputs": GIVEN, "Generated Outputs": SAID, "Feedback": "say A"}],
    }
    tasks, contexts = proposer.told
    assert "- question: str" in tasks["code"]
    assert "sandbox" in contexts["code"]


@pytest.mark.parametrize("uses_dspys_own", [True, False])
def test_what_a_source_is_held_to_is_said_with_the_task(uses_dspys_own):
    """Who does what the prompt says is never refused: a fixed part of a source is named in it."""
    rules = Rules(frozen={"code": ["dspy.Module"]}, constraints=["Import nothing."])
    proposer, lm = Noting(), scripted_lm(answer(revised_source=SHOUTING))
    given = None if uses_dspys_own else proposer
    code = CodeProposer(given, Both(), lm=lm, told=rules.told)
    said = Ruled(code, rules)(request(), {}, {})
    prompt = lm.engine.prompts[0] if uses_dspys_own else proposer.told[0]["code"]
    assert "- question: str" in prompt
    assert '- Import nothing.\n- Repeat this part to the character: "dspy.Module"' in prompt
    assert said.texts["code"].strip() == SHOUTING.strip()


def test_a_failure_is_shown_in_dspys_words():
    """In place of the outputs, and in the feedback."""
    assert records(CRASHED) == [
        {
            "Inputs": GIVEN,
            "Generated Outputs": "FailedPrediction: by zero",
            "Feedback": "The program failed: by zero\nThis trajectory got a score of 0.",
        }
    ]


def test_a_modules_own_calls_are_shown_where_they_differ():
    """Inside a program the code is given something else than the program."""
    step = Step("code", {"question": 1}, {"answer": 2})
    swallowed = Step("code", {"question": 1}, {}, failure="by zero")
    (shown,) = records(Rollout(0.5, trace=Trace(GIVEN, SAID, (step, swallowed))))
    assert shown["Inputs"] == GIVEN
    assert shown["Feedback"] == "This trajectory got a score of 0.5."
    assert shown["Module Calls"] == [
        {"Inputs": {"question": "1"}, "Generated Outputs": {"answer": "2"}},
        {"Inputs": {"question": "1"}, "Generated Outputs": "FailedPrediction: by zero"},
    ]


def test_rollouts_without_the_module_are_left_out():
    """It had no part in them; where the program crashed before, it may have had."""
    idle = Rollout(0.0, trace=Trace(GIVEN, SAID, ()))
    early = Rollout(0.0, failure="early", trace=Trace(GIVEN, {}, ()))
    assert [each["Feedback"][:26] for each in records(idle, early)] == [
        "The program failed: early\n"
    ]


def test_the_reflection_lm_is_at_hand():
    """As the configured model, with its calls counted, and nothing in the caller's trace."""
    lm = scripted_lm(answer(source=SHOUTING))

    def proposer(candidate, **_):
        return {"code": dspy.Predict("old -> source")(old=candidate["code"]).source}

    with dspy.context(trace=[]):
        said = CodeProposer(proposer, Both(), lm=lm)(request(), {}, {})
        assert dspy.settings.trace == []
    assert (said.texts, said.lm_calls) == ({"code": SHOUTING.strip()}, 1)


@pytest.mark.parametrize(
    "fence",
    ["{}", "```python\n{}\n```", "```\n{}```\n", "It has to shout:\n\n```py\n{}\n```\n\nDone."],
)
def test_without_a_proposer_dspys_own_asks(fence):
    """Its words, the source, tools and failures in the prompt; the source without the fence."""

    def shout(text: str) -> str:
        """Makes it loud."""
        return text.upper()

    student = flex(tools=[shout])
    lm = scripted_lm(answer(revised_source=fence.format(SHOUTING.strip())))
    step = Step("self", GIVEN, {}, failure="by zero")
    failed = Rollout(0.0, failure="by zero", trace=Trace(GIVEN, {}, (step,)))
    asked = request(failed, components=("self",), student=student)
    said = CodeProposer(None, student, lm=lm)(asked, {}, {})
    assert said == ReflectionAnswer(7, {"self": SHOUTING.strip()}, lm_calls=1)
    (prompt,) = lm.engine.prompts
    for part in (
        "dspy.Flex submodule",
        BASELINE,
        "shout: Makes it loud.",
        "by zero",
        "=== Example 0",
    ):
        assert part in prompt


def test_dspys_own_asks_anew_each_time():
    """A cached reply would be the source that was tried before."""
    lm = scripted_lm(answer(revised_source=SHOUTING), cache=True, temperature=0.5)
    proposer = CodeProposer(None, Both(), lm=lm)
    for _ in range(2):
        proposer(request(), {}, {})
    assert len(lm.engine.prompts) == 2


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "returned nothing"),
        ("text", "returned a str"),
        ({"draft": "Draft."}, "draft was not to be rewritten"),
        ({"code": 1}, "is a int"),
        ({"code": " "}, "is empty"),
    ],
)
def test_what_a_proposer_returns_is_checked(returned, problem):
    """What cannot be used is said, and the run goes on."""
    said = CodeProposer(lambda **_: returned, Both())(request(), {}, {})
    assert said.texts == {}
    assert problem in said.problem


def test_a_source_that_cannot_be_bound_is_a_source():
    """It is tried, and fails: that is for the evaluation to say."""
    said = CodeProposer(Noting(code=BROKEN), Both())(request(), {}, {})
    assert said == ReflectionAnswer(7, {"code": BROKEN})


class Unmade:
    """Takes no proposal but a name, as classes do."""

    def __init__(self, name):
        self.name = name


async def late(**_):
    return {}


@pytest.mark.parametrize(
    ("proposer", "problem"),
    [
        (lambda candidate: {}, "takes .*candidate.* unexpected keyword"),
        (Unmade, "Pass an instance"),
        (late, "asynchronous"),
        (3, "is 3"),
    ],
)
def test_a_proposer_that_cannot_be_called_is_refused(proposer, problem):
    """Before anything is spent."""
    with pytest.raises(WrongType, match=problem):
        CodeProposer(proposer, Both())


def test_other_callables_are_proposers():
    """A partial, say."""
    proposer = functools.partial(Noting(), context_blurbs={})
    assert CodeProposer(proposer, Both())(request(), {}, {}).texts == {"code": SHOUTING}


def test_dspys_own_needs_a_model_of_dspys():
    """A function from prompt to reply serves for instructions only."""
    with pytest.raises(WrongType, match=r"needs a dspy\.LM"):
        CodeProposer(None, Both(), lm=lambda prompt: "text")
    CodeProposer(Noting(), Both(), lm=lambda prompt: "text")


def saying(text, **more):
    return lambda request, *_: ReflectionAnswer(
        request.ticket, dict.fromkeys(request.components, text), **more
    )


def divided(**reflections):
    """The answer of a reflection on both kinds."""
    reflect = ReflectionByKind(parts_of(Both()), reflections)
    return reflect(request(components=("draft", "code")), {}, {})


def test_each_kind_has_its_own_reflection():
    """One answer with the texts, problems and costs of both."""
    said = divided(
        instruction=saying("Draft.", lm_calls=1, problem="hm"), code=saying(CRASHING, lm_calls=2)
    )
    assert said == ReflectionAnswer(7, {"draft": "Draft.", "code": CRASHING}, "hm", lm_calls=3)


def raising(error):
    def reflect(request, descriptions, feedback):
        raise error

    return reflect


def test_what_one_reflection_raises_costs_nothing_of_the_other():
    """Its components are missing, and the answer says why."""
    said = divided(instruction=saying("Draft."), code=raising(KeyError("oh")))
    assert said.texts == {"draft": "Draft."}
    assert said.problem.startswith("The reflection on code raised KeyError: 'oh' (in reflect, line")


def test_an_outage_is_passed_on():
    """Whoever called can try again, or stop the run."""
    with pytest.raises(dspy.LMError):
        divided(
            instruction=saying("Draft."),
            code=lambda *_: scripted_lm(raising_key)("Improve it."),
        )


def raising_key(prompt):
    raise AuthError("wrong key")
