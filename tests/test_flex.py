"""Whole runs over programs that hold `dspy.Flex` modules, and what is left of them."""

import json

import dspy
import pytest
from flex_programs import BROKEN, CRASHING, EXAMPLES, SHOUTING, Both, echo, flex, runs_code
from scripted_engine import answer, scripted_lm
from warm_python import ALONE

from dspy_gepa import GEPA
from dspy_gepa.program.program import components_of

READ = """
import json, sys
import dspy
path, is_whole = sys.argv[1], sys.argv[2] == "whole"
program = dspy.load(path, allow_pickle=True) if is_whole else dspy.Flex("question -> answer")
if not is_whole:
    program.load(path)
assert not [name for name in sys.modules if name.startswith("dspy_gepa.")]
print(json.dumps(program.module_src))
"""


def exact(gold, pred, trace=None):
    return float(gold.answer == pred.answer), f"The answer is {gold.answer}."


def proposing(*sources):
    """A code proposer that gives these sources in turn, and then the last one."""
    left = list(sources)

    def propose(
        candidate, reflective_dataset, components_to_update, task_descriptions, context_blurbs
    ):
        text = left.pop(0) if len(left) > 1 else left[0]
        return dict.fromkeys(components_to_update, text)

    return propose


def writing(instruction, text):
    """A model that writes this instruction, and this source where it is asked for one."""

    def reply(prompt):
        if "revised_source" in prompt:
            return answer(revised_source=text)
        return f"<new_text>{instruction}</new_text>"

    return scripted_lm(reply)


def compiled(student, metric=exact, **settings):
    """The optimizer and what it made of the student."""
    settings = {"reflection_lm": writing("Draft.", SHOUTING), **settings}
    optimizer = GEPA(metric, **{"max_metric_calls": 40, **settings})
    with dspy.context(lm=scripted_lm(echo)):
        return optimizer, optimizer.compile(student, trainset=EXAMPLES, valset=EXAMPLES[:3])


@runs_code
@pytest.mark.parametrize("settings", [{}, {"code_proposer": proposing(SHOUTING)}])
def test_code_is_improved(settings):
    """By DSPy's own code proposer and by a user's; the student stays as it was."""
    student = flex()
    before = student.module_src
    optimizer, better = compiled(student, **settings)
    assert better.module_src.strip() == SHOUTING.strip()
    assert optimizer.result.members[-1].candidate == components_of(better)
    assert student.module_src == before
    assert type(better) is dspy.Flex


@runs_code
def test_broken_sources_do_not_end_a_run():
    """They fail and are rejected, whether they cannot be bound or not be run."""
    optimizer, better = compiled(
        flex(), code_proposer=proposing(BROKEN, "class Code: pass", CRASHING, SHOUTING), repairs=0
    )
    assert better.module_src == SHOUTING
    kinds = [proposal.verdict.kind for proposal in optimizer.result.proposals]
    assert kinds == ["rejected", "rejected", "rejected", "accepted"]
    assert optimizer.result.failed == 0


@runs_code
@pytest.mark.parametrize(("search", "kinds"), [("default", ["accepted"]), ("paper", ["rejected"])])
def test_a_source_that_does_not_run_goes_back_within_its_proposal(search, kinds):
    """With its failure, and no instruction goes with it; all of it is counted. Not in the paper."""
    shown = []

    def propose(reflective_dataset, components_to_update, **_):
        shown.append({name: str(reflective_dataset[name]) for name in components_to_update})
        return {"code": BROKEN if len(shown) == 1 else SHOUTING}

    optimizer, _ = compiled(
        Both(), code_proposer=propose, component_selector="all", search=search, max_proposals=1
    )
    assert [each.verdict.kind for each in optimizer.result.proposals] == kinds
    if search == "default":
        assert list(shown[1]) == ["code"]
        assert "SyntaxError" in shown[1]["code"]
    assert len(shown) == len(kinds) + (search == "default")


@runs_code
def test_a_run_of_nothing_but_broken_sources_returns_the_program():
    """As it was, within the budget."""
    count = iter(range(99))
    optimizer, same = compiled(
        flex(),
        max_metric_calls=20,
        code_proposer=lambda components_to_update, **_: {"self": f"class Code{next(count)}(:"},
    )
    assert components_of(same) == components_of(flex())
    assert optimizer.result.tally.metric_calls <= 20


@runs_code
@pytest.mark.parametrize(
    "settings", [{}, {"instruction_proposer": lambda **_: {"draft": "Draft."}}]
)
def test_both_kinds_in_one_proposal(settings):
    """Each by its own reflection, counted together."""
    optimizer, better = compiled(Both(), component_selector="all", **settings)
    assert better.draft.signature.instructions == "Draft."
    assert better.code.module_src.strip() == SHOUTING.strip()
    assert len(optimizer.result.proposals) == 1


@runs_code
def test_round_robin_takes_its_turn_with_code():
    """One component at a time; two proposals may ask at once."""
    turns = []

    def noting(text):
        def propose(components_to_update, **_):
            turns.append(components_to_update)
            return dict.fromkeys(components_to_update, text)

        return propose

    compiled(Both(), instruction_proposer=noting("Draft."), code_proposer=noting(SHOUTING))
    assert sorted(turns) == [["code"], ["draft"]]


@runs_code
def test_a_metric_can_ask_for_fewer_calls():
    """Two sources answer right, and the one that asks no model is better."""

    def frugal(gold, pred, trace=None, program_trace=None):
        assert trace is None
        return exact(gold, pred)[0] - 0.5 * len(program_trace), "Ask less."

    _, better = compiled(flex(), frugal, code_proposer=proposing(SHOUTING))
    assert better.module_src == SHOUTING


@runs_code
def test_statistics_say_the_sources():
    """DSPy's own result, with programs that hold them."""
    _, better = compiled(flex(), track_stats=True, code_proposer=proposing(SHOUTING))
    stats = better.detailed_results
    assert stats.best_candidate.module_src == SHOUTING
    assert stats.to_dict()["candidates"][-1] == {"self": SHOUTING}


@runs_code
@pytest.mark.parametrize("form", ["state.json", "whole"])
def test_an_improved_program_loads_without_this_package(tmp_path, warm_python, form):
    """State and whole program, in a process that has DSPy only."""
    _, better = compiled(flex(), track_stats=True, code_proposer=proposing(SHOUTING))
    path = tmp_path / form
    better.save(path, save_program=form == "whole")
    done = warm_python.run(ALONE + READ, path, form, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == SHOUTING


@runs_code
def test_a_run_over_code_is_carried_on(tmp_path):
    """Its directory knows sources as it knows instructions."""
    for calls in (6, 40):
        optimizer, better = compiled(
            flex(),
            log_dir=str(tmp_path),
            max_metric_calls=calls,
            code_proposer=proposing(SHOUTING),
        )
    assert better.module_src == SHOUTING
    assert optimizer.result.tally.metric_calls <= 40
    saved = json.loads((tmp_path / "best_program.json").read_text())
    assert saved["module_src"] == SHOUTING


def test_a_code_proposer_that_is_none_is_refused():
    """In the constructor."""
    with pytest.raises(TypeError, match="code_proposer='text' was given"):
        GEPA(exact, code_proposer="text")


def test_a_code_proposer_without_code_changes_nothing():
    """As in dspy.GEPA."""

    def never(**_):
        raise AssertionError("there is no code")

    lm = scripted_lm(lambda prompt: answer(answer="a" if "Draft." in prompt else "no"))
    optimizer = GEPA(
        lambda gold, pred: float(pred.answer == "a"),
        max_metric_calls=20,
        reflection_lm=writing("Draft.", ""),
        code_proposer=never,
    )
    with dspy.context(lm=lm):
        better = optimizer.compile(dspy.Predict("question -> answer"), trainset=EXAMPLES)
    assert components_of(better)["self"] == "Draft."


@pytest.fixture(scope="module")
def sandbox():
    """DSPy's own sandbox, which is Deno; skips where it does not start."""
    try:
        with dspy.PythonInterpreter() as interpreter:
            interpreter.execute("print(1)")
    except dspy.CodeInterpreterError as error:
        reason = next(iter(str(error).splitlines()), "")
        pytest.skip(f'dspy.PythonInterpreter does not start; pip install "dspy[deno]". {reason}')
    return dspy.PythonInterpreter


def test_code_is_improved_in_dspys_sandbox(sandbox):
    """Where generated code is kept from everything. One example only: a start takes seconds."""
    optimizer = GEPA(exact, max_metric_calls=9, code_proposer=proposing(CRASHING, SHOUTING))
    with dspy.context(lm=scripted_lm(echo)):
        better = optimizer.compile(flex(interpreter_factory=sandbox), trainset=EXAMPLES[:1])
    assert better.module_src == SHOUTING
    assert [each.verdict.kind for each in optimizer.result.proposals] == ["rejected", "accepted"]
