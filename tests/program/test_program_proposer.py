"""A user's own proposer: what it is shown, how it is called, and what becomes of its texts."""

from __future__ import annotations

import functools
import json
import threading

import dspy
import pytest
from dspy.teleprompt.gepa import instruction_proposal
from dspy.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
from dspy_versions import since
from model_server import model_server
from scripted_engine import AuthError, answer, scripted_lm
from small_worker import SEED, Program, echo, rolled, worker

from dspy_gepa.core.budget import Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Remark, Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionAnswer, ReflectionRequest, RequestFailure
from dspy_gepa.errors import WrongType
from dspy_gepa.models.media import captured
from dspy_gepa.program.proposers.proposer import CustomProposer

has_proposer = since("3.4.1", "InstructionProposer")

CALL = Step("final", {"question": "a", "draft": 1}, {"answer": 2})
UNREAD = Step("final", {"question": "b"}, {}, failure="The reply could not be read.", reply="hm")


def evidence(*steps, example=0, score=0.5, feedback="too short", failure=""):
    return Evidence(example, Rollout(score, feedback, failure=failure, trace=Trace(steps=steps)))


def request(*items, components=("final",), candidate=SEED):
    return ReflectionRequest(7, candidate, components, items or (evidence(CALL),))


class Noting:
    """A proposer that keeps what it was shown, and always says the same. It counts as false."""

    def __init__(self, returned=None):
        self.returned = {"final": "Say it."} if returned is None else returned
        self.shown = []

    def __call__(self, candidate, reflective_dataset, components_to_update):
        self.shown.append((candidate, reflective_dataset, components_to_update))
        return self.returned

    def __bool__(self):
        return False


def shown(*items, student=None, feedback=None, proposer=None, **settings):
    """The records of the component `final`."""
    proposer = CustomProposer(proposer or Noting(), student or Program(), **settings)
    return proposer.dataset(request(*items), feedback or {})["final"]


def test_a_proposer_gets_plain_copies_by_keyword():
    """Candidate, reflective dataset and components are dicts and lists that it may keep."""
    proposer = Noting()
    assert CustomProposer(proposer, Program())(request(), {}, {}) == ReflectionAnswer(
        7, {"final": "Say it."}
    )
    ((candidate, dataset, components),) = proposer.shown
    assert (type(candidate), candidate) == (dict, dict(SEED))
    assert dataset == {
        "final": [
            {
                "Inputs": {"question": "a", "draft": "1"},
                "Generated Outputs": {"answer": "2"},
                "Feedback": "too short",
            }
        ]
    }
    assert components == ["final"]


def test_feedback_on_the_component_replaces_that_on_the_rollout():
    """Where the metric was asked about it."""
    assert shown(feedback={"final": {0: "no verb"}})[0]["Feedback"] == "no verb"
    assert shown(feedback={"final": {1: "no verb"}})[0]["Feedback"] == "too short"


def test_the_score_stands_in_for_feedback():
    """A record always says how it went."""
    assert shown(evidence(CALL, feedback=""))[0]["Feedback"] == "Score: 0.5."
    (failed,) = shown(evidence(CALL, feedback="", failure="ValueError: no"))
    assert failed["Feedback"] == "The program failed: ValueError: no\nScore: 0.5."


def test_every_call_has_a_record_and_failed_ones_come_first():
    """Then calls of failed rollouts, then lower scores; no call is left to chance."""
    first, second = (Step("final", {"question": q}, {"answer": q}) for q in "xy")
    records = shown(
        evidence(first, UNREAD, second, score=0.9),
        evidence(CALL, example=1, score=0.1),
        evidence(second, example=2, failure="crashed"),
    )
    assert [record["Inputs"]["question"] for record in records] == ["b", "y", "a", "x", "y"]


def test_of_a_conversation_the_last_call_comes_first():
    """It holds all that the earlier ones hold; other calls keep their order."""
    turns = [
        Step("final", {"question": q, "history": dspy.History(messages=said)}, {"answer": q})
        for q, said in (("x", []), ("y", [{"question": "x", "answer": "x"}]))
    ]
    records = shown(evidence(*turns))
    assert [record["Inputs"]["question"] for record in records] == ["y", "x"]


def test_a_reply_that_could_not_be_read_is_shown_with_the_structure_to_follow():
    """As the program's own adapter tells the model, with the instruction that it had."""
    (record,) = shown(evidence(UNREAD, feedback="", failure="unread"))
    assert record["Generated Outputs"] == (
        "Couldn't parse the output as per the expected output format. The model's raw response "
        "was:\n```\nhm\n```\n\n"
    )
    beginning = "Your output failed to parse. Follow this structure:\nsystem: Your input fields"
    assert record["Feedback"].startswith(beginning)
    assert "[[ ## answer ## ]]" in record["Feedback"]
    assert SEED["final"] in record["Feedback"]
    assert "Score" not in record["Feedback"]
    with dspy.context(adapter=dspy.JSONAdapter()):
        (record,) = shown(evidence(UNREAD, feedback="", failure="unread"))
    assert '"answer": "{answer}"' in record["Feedback"]


def test_the_metric_has_its_say_where_the_program_went_on():
    """A program may work around a reply that could not be read."""
    (record,) = shown(evidence(UNREAD, feedback="a guess"))
    assert record["Feedback"].endswith("\na guess")


def test_unread_replies_can_be_left_out():
    """With the rollouts in which they came."""
    items = (evidence(CALL, UNREAD), evidence(CALL, example=1))
    assert len(shown(*items, shows_unparsed=False)) == 1


def test_a_call_that_raised_says_what():
    """It gave no output that could be shown."""
    raised = Step("final", {"question": "a"}, {}, failure="KeyError: 'b'")
    assert shown(evidence(raised))[0]["Generated Outputs"] == (
        "The call gave no output: KeyError: 'b'"
    )


HISTORY = dspy.History(messages=[{"question": "x", "answer": "y"}])
IMAGE = dspy.Image("https://example.com/cat.png")


def test_a_history_is_the_context():
    """First among the inputs, rendered turn by turn."""
    step = Step("final", {"question": "a", "past": HISTORY}, {"answer": "b"})
    (record,) = shown(evidence(step))
    assert list(record["Inputs"].items()) == [
        ("Context", "```json\n  0: {'question': 'x', 'answer': 'y'}\n```"),
        ("question", "a"),
    ]


def test_a_second_history_and_a_field_of_that_name_keep_their_names():
    """Nothing is lost, and nothing crashes."""
    two = Step("final", {"past": HISTORY, "other": HISTORY}, {})
    assert list(shown(evidence(two))[0]["Inputs"]) == ["Context", "other"]
    taken = Step("final", {"past": HISTORY, "Context": "here"}, {})
    inputs = shown(evidence(taken))[0]["Inputs"]
    assert list(inputs) == ["past", "Context"]
    assert (inputs["past"][:7], inputs["Context"]) == ("```json", "here")


def test_values_of_dspys_own_types_stay_objects():
    """An image is no use as text."""
    step = Step("final", {"image": IMAGE, "n": 1, "past": HISTORY}, {"answer": 2})
    (record,) = shown(evidence(step))
    assert record["Inputs"]["image"] is IMAGE
    assert (record["Inputs"]["n"], record["Generated Outputs"]) == ("1", {"answer": "2"})


ENCODED = dspy.Image(url="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB")


@has_proposer
def test_dspys_own_proposer_is_handed_the_objects_of_a_trace():
    """A trace holds values in their place."""
    fields = {"image": ENCODED, "pages": [ENCODED]}
    step = Step("final", captured(fields), captured(fields))
    (record,) = shown(evidence(step), proposer=instruction_proposal.InstructionProposer())
    assert (record["Inputs"], record["Generated Outputs"]) == (fields, fields)


def test_no_text_of_a_record_holds_encoded_content():
    """An image as an input is an object; within a list, a history or an output it is described."""
    said = dspy.History(messages=[{"image": ENCODED.url}])
    fields = {"image": ENCODED, "pages": [ENCODED], "past": said}
    step = Step("final", captured(fields), captured({"image": ENCODED, "text": f"see {ENCODED}"}))
    (record,) = shown(evidence(step))
    assert record["Inputs"]["image"] == ENCODED
    assert record["Inputs"]["pages"].startswith("[(image, image/png, ")
    assert record["Generated Outputs"]["image"].startswith("(image, image/png, ")
    del record["Inputs"]["image"]
    assert "iVBORw0KGgo" not in json.dumps(record)


@has_proposer
def test_dspys_own_proposer_takes_every_value_as_it_is():
    """It renders them itself."""
    step = Step("final", {"image": IMAGE, "n": 1, "past": HISTORY}, {"answer": 2})
    (record,) = shown(evidence(step), proposer=instruction_proposal.InstructionProposer())
    assert record["Inputs"] == {"Context": HISTORY, "image": IMAGE, "n": 1}
    assert record["Generated Outputs"] == {"answer": 2}


def test_components_that_were_not_called_are_left_out():
    """Where none was called, the proposer is not asked at all."""
    proposer = Noting()
    made = CustomProposer(proposer, Program())
    answered = made(request(components=("draft", "final")), {}, {})
    assert list(proposer.shown[0][1]) == ["final"]
    assert answered.problem == "the proposer returned no text for draft"
    answered = made(request(evidence(failure="crashed")), {}, {})
    assert answered.problem == "no rollout of the evidence called the components"
    assert len(proposer.shown) == 1


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ({}, "the proposer returned nothing"),
        (None, "the proposer returned nothing"),
        ("Say it.", "the proposer returned a str, and not a dict from component to text"),
        (
            {"other": "x"},
            "the program has no component 'other'; the proposer returned no text for final",
        ),
        (
            {"draft": "x"},
            "draft was not to be rewritten; the proposer returned no text for final",
        ),
        ({"final": 3}, "the text for final is a int, and not a text"),
        ({"final": None}, "the text for final is a NoneType, and not a text"),
        ({"final": " \n"}, "the text for final is empty"),
    ],
)
def test_what_cannot_be_used_is_a_problem(returned, problem):
    """It says what came and what was needed; no candidate is tried."""
    made = CustomProposer(lambda **_: returned, Program())
    assert made(request(), {}, {}) == ReflectionAnswer(7, problem=problem)


def test_what_can_be_used_is_used():
    """Beside texts that cannot be."""
    made = CustomProposer(Noting({"final": "Say it.", "draft": ""}), Program())
    answered = made(request(components=("draft", "final")), {}, {})
    assert answered == ReflectionAnswer(7, {"final": "Say it."}, "the text for draft is empty")


def plain(candidate, reflective_dataset, components_to_update):
    return {"final": "Say it."}


class Proposing(dspy.Module):
    def forward(self, candidate, reflective_dataset, components_to_update):
        return {"final": "Say it."}


@pytest.mark.parametrize(
    "proposer",
    [
        plain,
        functools.partial(plain),
        Proposing(),
        Noting(),
        lambda *, reflective_dataset, **more: plain(reflective_dataset=[], **more),
    ],
)
def test_whatever_takes_the_three_keywords_is_a_proposer(proposer):
    """Functions, partials, modules, and objects that count as false."""
    assert CustomProposer(proposer, Program())(request(), {}, {}).texts == {"final": "Say it."}


async def waiting(candidate, reflective_dataset, components_to_update):
    return {}


@pytest.mark.parametrize(
    ("proposer", "said"),
    [
        ("a text", "The instruction_proposer is 'a text'"),
        (lambda one, two, three: {}, "takes .one, two, three.*reflective_dataset"),
        (MultiModalInstructionProposer, "Pass an instance, not the class"),
        (waiting, "asynchronous"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is_spent(proposer, said):
    """With the three keywords that are needed."""
    with pytest.raises(WrongType, match=said):
        CustomProposer(proposer, Program())


def test_a_reflection_of_our_own_kind_is_called_as_such():
    """It sees the request itself, descriptions and feedback, and its answer is taken."""
    seen = []

    def own(request, descriptions, feedback):
        seen.append((request, descriptions, feedback))
        dspy.settings.lm("anyone there?")
        return ReflectionAnswer(0, {"final": "Say it."}, metric_calls=1)

    asked = request()
    made = CustomProposer(own, Program(), lm=scripted_lm("yes"))
    answered = made(asked, {"final": "what it is"}, {"final": {}})
    assert seen == [(asked, {"final": "what it is"}, {"final": {}})]
    assert answered == ReflectionAnswer(7, {"final": "Say it."}, metric_calls=1, lm_calls=1)
    wrong = CustomProposer(lambda request, descriptions, feedback: {}, Program())
    assert wrong(asked, {}, {}).problem == (
        "the proposer returned a dict, and not a ReflectionAnswer"
    )


def test_the_reflection_lm_is_the_model_of_the_context():
    """The one that was given, or else the one that is configured at the time of the call."""
    seen = []

    def proposer(candidate, reflective_dataset, components_to_update):
        seen.append(dspy.settings.lm)
        return {}

    reflecting, configured = scripted_lm("x"), scripted_lm("y")
    with dspy.context(lm=configured):
        CustomProposer(proposer, Program(), lm=reflecting)(request(), {}, {})
        CustomProposer(proposer, Program())(request(), {}, {})
    CustomProposer(proposer, Program())(request(), {}, {})
    assert seen[0] is reflecting
    assert seen[1] is configured
    assert seen[2] is dspy.settings.lm


def test_calls_of_models_are_counted_and_leave_no_trace():
    """From any thread of DSPy's, and in nobody else's trace."""
    lm = scripted_lm(answer(text="Say it."))

    def proposer(candidate, reflective_dataset, components_to_update):
        write = dspy.Predict("request -> text")
        tries = [(write, {"request": str(i)}) for i in range(5)]
        results = dspy.Parallel(num_threads=2, disable_progress_bar=True)(tries)
        return {"final": results[0].text}

    trace = []
    with dspy.context(trace=trace):
        answered = CustomProposer(proposer, Program(), lm=lm)(request(), {}, {})
    assert answered == ReflectionAnswer(7, {"final": "Say it."}, lm_calls=5)
    assert (trace, len(lm.history)) == ([], 5)


def test_the_users_callbacks_are_told_too():
    """Counting takes no callback away."""

    class Callback(dspy.utils.callback.BaseCallback):
        seen = 0

        def on_lm_start(self, call_id, instance, inputs):
            self.seen += 1

    callback = Callback()
    with dspy.context(callbacks=[callback]):
        made = CustomProposer(lambda **_: dspy.settings.lm("?"), Program(), lm=scripted_lm("x"))
        assert made(request(), {}, {}).lm_calls == 1
    assert callback.seen == 1


def reflected(made, *, components=("final",), lm=None):
    """The worker's answer to a reflection on traced rollouts."""
    rollouts = [rolled(made, example, traced=True).rollout for example in (0, 2)]
    items = tuple(map(Evidence, (0, 2), rollouts))
    with dspy.context(lm=lm or scripted_lm(echo)):
        return made(ReflectionRequest(7, SEED, components, items))


@has_proposer
def test_dspys_own_proposer_works_unchanged():
    """It asks the reflection LM once a component, in its own format, and its text is used."""
    lm = scripted_lm(json.dumps({"new_instruction": "Say it twice."}))
    proposer = instruction_proposal.InstructionProposer(additional_instructions="Be brief.")
    made = worker(reflect=CustomProposer(proposer, Program(), lm=lm))
    answered = reflected(made, components=("draft", "final"))
    assert answered == ReflectionAnswer(
        7, {"draft": "Say it twice.", "final": "Say it twice."}, lm_calls=2, usage=Usage(4)
    )
    prompt = str(lm.history[-1]["messages"])
    assert "Be brief." in prompt
    assert "Expected answer: z!" in prompt


def test_dspys_multimodal_proposer_works_unchanged():
    """The reflection LM is sent the image itself."""
    lm = scripted_lm(answer(improved_instruction="Look closely."))
    student = dspy.Predict(dspy.Signature("image: dspy.Image -> label", "Look."))
    step = Step("self", {"image": IMAGE}, {"label": "dog"})
    made = CustomProposer(MultiModalInstructionProposer(), student, lm=lm)
    asked = request(evidence(step), components=("self",), candidate=Candidate.of({"self": "Look."}))
    assert made(asked, {}, {}) == ReflectionAnswer(7, {"self": "Look closely."}, lm_calls=1)
    sent = json.dumps(lm.history[-1]["messages"], default=str)
    assert "https://example.com/cat.png" in sent
    assert "too short" in sent


def test_what_was_attached_reaches_a_proposer_too():
    """Under a key of its own, which other records do not have; images as objects."""
    named = {"page": ENCODED, "note": "short", "all": {"pages": [ENCODED]}}
    rollout = Rollout(0.5, "look", attachments=captured(named), trace=Trace(steps=(CALL,)))
    (record,) = shown(Evidence(0, rollout))
    assert list(record) == ["Inputs", "Generated Outputs", "Feedback", "Attachments"]
    assert record["Attachments"]["page"] == ENCODED
    assert record["Attachments"]["note"] == "short"
    assert record["Attachments"]["all"].startswith("{'pages': [(image, image/png, ")
    assert list(shown(evidence(CALL))[0]) == ["Inputs", "Generated Outputs", "Feedback"]


def test_dspys_multimodal_proposer_is_handed_nested_images():
    """Each image in a list or among the attachments is sent as an image."""
    urls = [f"https://example.com/{number}.png" for number in range(3)]
    first, second, third = map(dspy.Image, urls)
    step = Step("self", captured({"pages": [first, second]}), {"label": "dog"})
    rollout = Rollout(
        0.5, "look", attachments=captured({"hint": {"page": third}}), trace=Trace(steps=(step,))
    )
    student = dspy.Predict(dspy.Signature("pages: list[dspy.Image] -> label", "Look."))
    seed = Candidate.of({"self": "Look."})
    text = "[[ ## improved_instruction ## ]]\nLook closely.\n\n[[ ## completed ## ]]"
    with model_server(200, text=text) as server:
        made = CustomProposer(MultiModalInstructionProposer(), student, lm=server.lm())
        answered = made(request(Evidence(0, rollout), components=("self",), candidate=seed), {}, {})
        (sent,) = server.requests
    assert answered.texts == {"self": "Look closely."}
    parts = sent["messages"][-1]["content"]
    shown = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert sorted(shown) == urls


def test_a_proposer_that_raises_is_a_failed_proposal():
    """The worker says what it raised and where, and the run goes on."""

    def crash(candidate, reflective_dataset, components_to_update):
        raise ZeroDivisionError("by zero")

    answered = reflected(worker(reflect=CustomProposer(crash, Program())))
    assert answered.texts == {}
    assert answered.problem.startswith("The reflection raised ZeroDivisionError: by zero (in crash")


def test_a_proposer_without_a_model_that_answers_is_a_breakdown():
    """A wrong key is no failed proposal, and is not swallowed."""

    def locked(prompt):
        raise AuthError("wrong key")

    proposer = MultiModalInstructionProposer()
    made = worker(reflect=CustomProposer(proposer, Program(), lm=scripted_lm(locked)))
    assert isinstance(reflected(made), RequestFailure)


def test_several_proposals_at_once_count_their_own_calls():
    """A proposer may be asked from several threads."""
    both = threading.Barrier(2)
    lm = scripted_lm("Say it.")

    def proposer(candidate, reflective_dataset, components_to_update):
        both.wait(timeout=60)
        return {"final": lm("?")[0]}

    made = CustomProposer(proposer, Program(), lm=lm)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(made(request(), {}, {}))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ReflectionAnswer(7, {"final": "Say it."}, lm_calls=1)] * 2


def test_what_the_metric_said_of_a_component_reaches_a_proposer():
    """In the records, in place of what it said of the whole."""
    proposer = Noting()
    made = worker(reflect=CustomProposer(proposer, Program()))
    rollouts = [rolled(made, example, traced=True).rollout for example in (0, 2)]
    said = {"final": Remark("about final")}
    items = tuple(Evidence(n, each, said) for n, each in zip((0, 2), rollouts, strict=True))
    made(ReflectionRequest(7, SEED, ("final",), items))
    ((_, dataset, _),) = proposer.shown
    assert [record["Feedback"] for record in dataset["final"]] == ["about final"] * 2
