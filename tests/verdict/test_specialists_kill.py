"""Kills and Ctrl-C in what follows a search: specialists, searches of their own, the verdict."""

import os
import random
import signal

import dspy
import label_task
import pytest
from scripted_engine import new_texts, scripted_lm

from dspy_gepa import GEPA, load_run

TOPICS = ("bill", "lock", "ship")
LIMIT = 260
THOROUGH = os.environ.get("DSPY_GEPA_TESTS") == "thorough"


def shown(number):
    """An example whose words tell its kind, and nothing else."""
    topic = TOPICS[number % 3]
    words = {"bill": "money invoice bill", "lock": "door key lock", "ship": "sea harbor ship"}
    return dspy.Example(
        message=f"{words[topic]} case{number}", code=label_task.CODES[topic]
    ).with_inputs("message")


TRAIN, VALIDATION, HELDOUT = (
    [shown(n) for n in numbers] for numbers in (range(18), range(18, 42), range(60, 78))
)


def forgetful(prompt):
    """One rule alone, of the kind that the prompt shows most of."""
    counts = {topic: prompt.count(f"{topic} means") for topic in TOPICS}
    topic = max(TOPICS, key=lambda each: counts[each])
    return new_texts(prompt, f"Rule: {topic} means {label_task.CODES[topic]}.")


def compiled(happens, log_dir):
    """The program and the result; something may happen at each metric call."""

    def metric(gold, pred, trace=None):
        happens()
        topic = next(topic for topic in TOPICS if topic in gold.message)
        return float(gold.code == pred.code), f"{topic} means {gold.code}"

    optimizer = GEPA(
        metric,
        max_metric_calls=LIMIT,
        specialists=3,
        num_threads=1,
        reflection_lm=scripted_lm(forgetful),
        use_merge=False,
        log_dir=log_dir,
    )
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(
            dspy.Predict("message -> code"), TRAIN, VALIDATION, heldout=HELDOUT
        )
    return program, optimizer.result


def texts(program):
    return [each.signature.instructions for each in program.predictors()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to: its texts, its result and the calls of the metric."""
    calls = []
    folder = tmp_path_factory.mktemp("whole") / "run"
    program, result = compiled(lambda: calls.append(1), folder)
    return texts(program), result, len(calls), folder


def test_the_run_has_all_that_is_killed_below(whole):
    """Searches of specialists' own, filled scores and a verdict, within the limit."""
    _, result, calls, folder = whole
    assert calls == result.tally.metric_calls <= LIMIT
    assert (folder / "specialist-1" / "events.jsonl").exists()
    assert result.routing.evidence
    assert result.verdict.kind == "better"


def lived(folder, log, calls):
    """One life in a process of its own, killed at so many metric calls; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    left = iter(range(calls - 1, -1, -1))

    def happens():
        os.write(descriptor, b".")
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        compiled(happens, folder)
    except BaseException:  # noqa: BLE001 - the child must not go on as pytest
        os._exit(3)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are told apart by signals")
@pytest.mark.parametrize("seed", range(8 if THOROUGH else 1))
def test_the_budget_holds_however_often_it_is_killed(tmp_path, whole, seed):
    """Killed again and again, in the search, in those of the specialists and in the check, it
    comes to its end; the calls that were really made are never more than the tally says, and that
    never more than the limit."""
    chance, log, folder = random.Random(seed), tmp_path / "calls", tmp_path / "run"
    ends = [lived(folder, log, chance.randint(10, 60))]
    while ends[-1] != 0:
        ends.append(lived(folder, log, chance.randint(10, 40)))
        assert len(ends) < 60
    assert set(ends) == {0, -signal.SIGKILL}
    made = log.stat().st_size
    _, result = compiled(lambda: pytest.fail("a finished run was paid again"), folder)
    assert made <= result.tally.metric_calls <= LIMIT
    assert load_run(folder).result.verdict.kind == result.verdict.kind
    assert result.routing.members


def test_ctrl_c_at_any_call_is_carried_on(tmp_path, whole):
    """The best so far is returned, and the same call goes on from there; in the end it is what it
    would have been without, and nothing was paid twice."""
    expected, result_whole, count, _ = whole
    searched = result_whole.state.tally.metric_calls
    moments = [*range(searched + 1, count, 3 if THOROUGH else 19)]
    calls = []

    def happens():
        calls.append(1)
        if len(calls) in moments:
            label_task.interrupt()

    for moment in moments:
        program, result = compiled(happens, tmp_path)
        assert len(calls) == moment == result.tally.metric_calls
        assert any("means" in text for text in texts(program))
    program, result = compiled(happens, tmp_path)
    assert len(calls) == result.tally.metric_calls == count
    assert texts(program) == expected
