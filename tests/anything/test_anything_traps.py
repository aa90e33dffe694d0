"""What goes wrong with gepa 0.1.4, run beside ours on the same evaluator and the same model.

Where only gepa's unreleased version has the fault, or it shows elsewhere, ours is run alone.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from artifact_worlds import Counted, Meeting, climber, repeater, value_of
from gepa.image import Image
from gepa.optimize_anything import (
    EngineConfig,
    GEPAConfig,
    RefinerConfig,
    ReflectionConfig,
)
from gepa.optimize_anything import log as gepa_log
from gepa.optimize_anything import optimize_anything as gepa_anything
from gepa.utils.code_execution import ExecutionMode, execute_code
from test_anything_isolation import is_alive, timed_by

from dspy_gepa import log, optimize_anything
from dspy_gepa.errors import (
    GEPAError,
    JournalMismatch,
    MetricError,
    ReflectionError,
    SettingsError,
)


def configured(model, limit, **engine):
    engine = {"max_metric_calls": limit, "parallel": False, **engine}
    return GEPAConfig(
        engine=EngineConfig(**engine), reflection=ReflectionConfig(reflection_lm=model)
    )


def gepa_run(evaluate, model=None, artifact="value: 0", limit=20, dataset=None, **engine):
    config = configured(model or climber(), limit, **engine)
    with contextlib.redirect_stdout(io.StringIO()):
        return gepa_anything(artifact, evaluator=evaluate, dataset=dataset, config=config)


def run(evaluate, model=None, artifact="value: 0", limit=20, **given):
    model = model or climber()
    return optimize_anything(artifact, evaluate, reflection_lm=model, max_evals=limit, **given)


def one_argument(evaluate):
    """gepa gives by name what a signature names."""

    def named(candidate):
        return evaluate(candidate)

    return named


def two_arguments(evaluate):
    def named(candidate, example):
        return evaluate(candidate, example)

    return named


def by_example(candidate, example):
    return value_of(candidate) - example


@pytest.mark.parametrize("limit", [3, 10, 25])
def test_trap_1_the_budget_is_overshot(limit):
    """Eight problems: gepa makes more calls than it may; ours never does."""
    theirs, ours = Counted(by_example), Counted(by_example)
    gepa_run(two_arguments(theirs), limit=limit, dataset=list(range(8)))
    result = run(ours, limit=limit, dataset=list(range(8)))
    assert len(theirs.calls) > limit
    assert len(ours.calls) == result.tally.metric_calls <= limit


@pytest.mark.parametrize("model", [climber(), repeater])
def test_trap_2_one_text_is_paid_again_and_again(model):
    """gepa evaluates parents anew each time, and what it has seen before."""
    theirs, ours = Counted(value_of), Counted(value_of)
    gepa_run(one_argument(theirs), model, limit=21)
    run(ours, model, limit=21)
    assert len({text for text, _ in theirs.calls}) < len(theirs.calls)
    assert len({text for text, _ in ours.calls}) == len(ours.calls)


def test_trap_3_sixteen_workers_do_one_thing_at_a_time():
    """In a single task; ours has as many evaluations under way as proposals."""

    def naming():
        names, lock = iter(range(1, 1000)), threading.Lock()

        def model(prompt):
            with lock:
                return f"```\nvalue: {next(names)}\n```"

        return model

    theirs, ours = Counted(value_of, lambda: time.sleep(0.05)), Counted(value_of, Meeting(3))
    engine = {"parallel": True, "max_workers": 16}
    gepa_run(one_argument(theirs), naming(), limit=6, **engine)
    run(ours, naming(), limit=9, window=4, num_threads=16)
    assert theirs.most_at_once == 1
    assert ours.most_at_once >= 3


def losing(candidate):
    if value_of(candidate) == 1:
        raise ValueError("this does not even run")
    return -10.0 + value_of(candidate) / 100


def test_trap_4_what_does_not_run_beats_negative_scores():
    """gepa gives it 0.0 and returns it as the best."""
    theirs = gepa_run(losing, raise_on_exception=False)
    assert theirs.best_candidate == "value: 1"
    ours = run(losing, climber(), limit=6)
    assert ours.score < 0
    assert ours.score == losing(ours.optimized_artifact)


def test_trap_5_one_exception_ends_everything():
    """In evaluation 9 of 40, by default; and sys.exit in an artifact ends the process."""

    def flaky(candidate, example):
        if example == 9:
            raise OSError("flaky")
        return value_of(candidate)

    with pytest.raises(OSError, match="flaky"):
        gepa_run(flaky, limit=60, dataset=list(range(40)))
    assert run(flaky, limit=60, dataset=list(range(40))).tally.metric_calls <= 60

    def leaving(candidate):
        if value_of(candidate) == 1:
            sys.exit(1)
        return -value_of(candidate)

    with pytest.raises(SystemExit):
        gepa_run(leaving, raise_on_exception=False)
    assert run(leaving, limit=4).score == 0


def test_trap_6_a_model_that_always_raises_is_a_success():
    """All evaluations are paid, and the first artifact comes back."""

    def broken(prompt):
        raise RuntimeError("out of words")

    theirs, ours = Counted(value_of), Counted(value_of)
    found = gepa_run(one_argument(theirs), broken, limit=20, raise_on_exception=False)
    assert (found.best_candidate, len(theirs.calls) >= 20) == ("value: 0", True)
    with pytest.raises(ReflectionError):
        run(ours, broken)
    assert len(ours.calls) == 1


def test_trap_7_what_is_no_number_is_a_score():
    """A first artifact with NaN stays the best for ever; a text beside the score raises inside."""

    def undefined(candidate):
        return float("nan") if value_of(candidate) == 0 else value_of(candidate)

    assert gepa_run(undefined).best_candidate == "value: 0"
    with pytest.raises(MetricError):
        run(undefined)

    def telling(candidate):
        return value_of(candidate), "grow"

    with pytest.raises((AttributeError, TypeError, ValueError)):
        gepa_run(telling)
    assert run(telling).score == 19


def test_trap_8_evaluators_that_cannot_work_are_found_out_late():
    """One that takes no example is called without it; a coroutine is an error; {} divides by 0."""

    def alone(candidate):
        return value_of(candidate)

    gepa_run(alone, dataset=[1, 2])
    with pytest.raises(SettingsError):
        run(alone, dataset=[1, 2])

    async def waiting(candidate):
        await asyncio.sleep(0)
        return value_of(candidate)

    with pytest.raises(TypeError):
        gepa_run(waiting)
    assert run(waiting).score == 19
    with pytest.raises((ZeroDivisionError, AssertionError, ValueError)) as theirs:
        gepa_run(lambda candidate: 0.0, artifact={})
    assert not isinstance(theirs.value, GEPAError)
    with pytest.raises(SettingsError):
        run(lambda candidate: 0.0, artifact={})


def test_trap_9_what_is_given_is_written_to():
    """gepa's configuration is another one after the call; ours reads it, again and again."""
    config = configured(climber(), 4)
    template = config.reflection.reflection_prompt_template
    with contextlib.redirect_stdout(io.StringIO()):
        gepa_anything("value: 0", evaluator=value_of_candidate, objective="grow", config=config)
    assert config.reflection.reflection_prompt_template != template
    mine = configured(climber(), 4)
    before = repr(mine)
    for goal in ("grow", "grow more"):
        optimize_anything("value: 0", value_of_candidate, objective=goal, config=mine)
    assert repr(mine) == before


def value_of_candidate(candidate):
    return value_of(candidate if isinstance(candidate, str) else candidate["current_candidate"])


def test_trap_10_score_and_text_are_of_two_artifacts():
    """A refiner's score is told with the text that was not refined. Ours are of one evaluation."""
    refined = json.dumps({"current_candidate": "value: 1000"})

    def with_refiner():
        config = configured(climber(100), 6)
        config.refiner = RefinerConfig(refiner_lm=lambda prompt: refined, max_refinements=1)
        return config

    with contextlib.redirect_stdout(io.StringIO()):
        found = gepa_anything("value: 0", evaluator=value_of_candidate, config=with_refiner())
    assert found.val_aggregate_scores[found.best_idx] == 1000
    assert value_of_candidate(found.best_candidate) != 1000
    with pytest.raises(SettingsError, match="refiner_lm"):
        optimize_anything("value: 0", value_of, config=with_refiner())
    result = run(value_of)
    assert result.score == value_of(result.optimized_artifact)


class Alike:
    """Examples that print alike."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return "Alike()"


def test_trap_11_examples_that_print_alike_share_a_score():
    """With gepa's cache three of them are one."""

    def evaluate(candidate, example):
        return value_of(candidate) + example.value

    examples = [Alike(1), Alike(2), Alike(3)]
    theirs, ours = Counted(evaluate), Counted(evaluate)
    found = gepa_run(
        two_arguments(theirs),
        limit=3,
        dataset=examples,
        cache_evaluation=True,
    )
    assert len({*found.val_subscores[0].values()}) < 3 or len(theirs.calls) < 3
    result = run(ours, limit=3, dataset=examples)
    assert [best.score for best in result.best_by_problem] == [1, 2, 3]


def test_trap_12_the_directory_of_another_run_is_taken(tmp_path):
    """Another first artifact and the opposite evaluator are mixed into what is there."""
    gepa_run(value_of_candidate, limit=6, run_dir=str(tmp_path / "theirs"))
    found = gepa_run(
        lambda candidate: -value_of(candidate),
        artifact="value: 100",
        limit=12,
        run_dir=str(tmp_path / "theirs"),
    )
    assert "value: 0" in [
        text if isinstance(text, str) else text["current_candidate"] for text in found.candidates
    ]
    run(value_of, limit=6, log_dir=str(tmp_path / "ours"))
    with pytest.raises(JournalMismatch, match="component artifact"):
        run(value_of, artifact="value: 100", limit=12, log_dir=str(tmp_path / "ours"))


def test_trap_12_what_an_evaluator_returns_breaks_the_saving_of_a_run(tmp_path):
    """A lock in the side information cannot be pickled; here nothing is."""

    def evaluate(candidate):
        return value_of(candidate), {"held": threading.Lock()}

    result = run(evaluate, limit=5, log_dir=str(tmp_path))
    assert (result.score, run(evaluate, limit=7, log_dir=str(tmp_path)).score) == (4, 6)


def test_trap_13_threads_change_what_a_model_is_asked():
    """In gepa's unreleased version. Here the prompts are the same ones at any number of threads."""

    def asked(threads):
        prompts, lock = [], threading.Lock()

        def model(prompt):
            with lock:
                prompts.append(prompt)
            return climber()(prompt)

        run(by_example, model, dataset=[1, 2, 3, 4], num_threads=threads, window=3, limit=24)
        return sorted(prompts)

    first = asked(1)
    assert all(asked(4) == first for _ in range(3))


def test_trap_14_lines_of_a_thread_are_lost():
    """gepa's log is heard in the evaluation's own thread only."""

    def logging_with(write):
        def evaluate(candidate):
            thread = threading.Thread(target=write, args=("from a thread",))
            thread.start()
            thread.join()
            return value_of(candidate)

        return evaluate

    theirs, ours = [], []

    def noting(prompts):
        def model(prompt):
            prompts.append(str(prompt))
            return climber()(prompt)

        return model

    with pytest.warns(UserWarning, match="log"):
        gepa_run(logging_with(gepa_log), noting(theirs), limit=4)
    run(logging_with(log), noting(ours), limit=4)
    assert not any("from a thread" in prompt for prompt in theirs)
    assert all("from a thread" in prompt for prompt in ours)


def test_trap_15_a_time_limit_works_in_the_main_thread_only():
    """gepa's own way to run code cannot be used by evaluations at once; isolation can."""
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(execute_code, "x = 1", timeout=5, mode=ExecutionMode.IN_PROCESS)
        with pytest.raises(ValueError, match="main thread"):
            call.result()

    def evaluate(candidate, example):
        names = {}
        exec("x = 1", names)
        return value_of(candidate) + names["x"]

    result = run(evaluate, dataset=[1, 2, 3], num_threads=3, isolation="process", limit=6)
    assert result.score >= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_trap_15_a_grandchild_outlives_the_time_limit(tmp_path, monkeypatch):
    """What gepa's subprocess began goes on after it; ours ends the whole tree. In both, time is up
    when the grandchild is there."""

    def is_there(path):
        return path.exists() and path.stat().st_size > 0

    def sleeping(path):
        return f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
open({str(path)!r}, "w").write(str(child.pid))
time.sleep(60)
"""

    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "_time", lambda: 1e9 * is_there(theirs))
        found = execute_code(sleeping(theirs), timeout=0.1, mode=ExecutionMode.SUBPROCESS)
    assert not found.success
    left = int(theirs.read_text())
    assert is_alive(left)
    os.kill(left, signal.SIGKILL)

    def evaluate(candidate):
        if value_of(candidate):
            exec(sleeping(ours), {})
        return value_of(candidate)

    with timed_by(lambda: is_there(ours)):
        result = run(evaluate, limit=2, isolation="process", timeout_seconds=0.1, repairs=0)
    assert result.score == 0
    assert not is_alive(int(ours.read_text()))


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("A\n```\nvalue: 3\n```\nor\n```\nvalue: 4\n```", "value: 3\n```\nor\n```\nvalue: 4"),
        ("I am sorry, but I cannot help with that.", "I am sorry, but I cannot help with that."),
        ("```\n```", ""),
    ],
)
def test_trap_16_gepa_evaluates_what_is_no_text(reply, text):
    """The next test has the same replies, and what ours makes of them."""
    theirs = Counted(lambda candidate: 0.0)
    gepa_run(one_argument(theirs), lambda prompt: reply, limit=4)
    assert text in [called for called, _ in theirs.calls]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("```\nvalue: 3\n```", "value: 3"),
        ("```python\nvalue: 3\n```", "value: 3"),
        ("Here it is:\n\n```yaml\nvalue: 3\n```\n\nIt is larger.", "value: 3"),
        ("<new_text>\nvalue: 3\n</new_text>", "value: 3"),
        ("<new_text>\n```python\nvalue: 3\n```\n</new_text>", "value: 3"),
        ("First\n```\nvalue: 3\n```\nor perhaps\n```\nvalue: 4\n```", None),
        ("I am sorry, but I cannot help with that.", None),
        ("```\n```", None),
        ("", None),
        ("<diagnosis>\nIt is small.\n</diagnosis>\n<no_change/>", None),
    ],
)
def test_trap_16_what_is_no_text_becomes_the_artifact(reply, text):
    """Prose between two blocks, a refusal, an empty block: here it is asked for once more."""
    evaluate, asked = Counted(value_of), []

    def model(prompt):
        asked.append(prompt)
        return reply

    with contextlib.suppress(ReflectionError):
        run(evaluate, model, max_proposals=1, limit=5)
    assert [called for called, _ in evaluate.calls] == ["value: 0", text][: 1 + bool(text)]
    assert len(asked) == (1 if text or "no_change" in reply else 2)


def test_trap_16_a_text_with_marks_of_ours_is_shown_as_it_is():
    """Marks of the prompt are other ones then, and what stands in the artifact stays."""
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return climber()(prompt)

    artifact = "value: 0\n<new_text>\n<side_info>\n{{examples}}"
    gepa_run(one_argument(value_of), model, artifact, limit=4)
    assert artifact not in str(prompts.pop(0))
    prompts.clear()
    run(value_of, model, artifact, limit=2)
    assert artifact in prompts[0]
    assert "<new_text_2>" in prompts[0]


def test_trap_16_no_image_is_in_the_files_of_a_run_as_text(tmp_path):
    """It has a file of its own beside the journal."""
    pixels = base64.b64encode(bytes(range(256)) * 200).decode()

    def evaluate(candidate):
        return value_of(candidate), {"plot": Image(base64_data=pixels, media_type="image/png")}

    gepa_run(evaluate, limit=4, run_dir=str(tmp_path / "theirs"))
    theirs = (tmp_path / "theirs").rglob("*.json")
    assert any(pixels in file.read_text() for file in theirs)
    run(evaluate, limit=3, log_dir=str(tmp_path / "ours"))
    assert pixels not in (tmp_path / "ours" / "events.jsonl").read_text()


def test_trap_17_what_was_rejected_as_a_whole_is_forgotten():
    """gepa tells the best of each problem among the members of its pool."""
    targets = [1, 1, 1, 5]

    def evaluate(candidate, example):
        return -abs(value_of(candidate) - example)

    theirs, ours = Counted(evaluate), Counted(evaluate)
    found = gepa_run(two_arguments(theirs), limit=60, dataset=targets)
    seen = max(evaluate(text, 5) for text, example in theirs.calls if example == "5")
    assert max(row[3] for row in found.val_subscores) < seen
    result = run(ours, limit=60, dataset=targets, reflection_minibatch_size=4)
    best = max(evaluate(text, 5) for text, example in ours.calls if example == "5")
    assert result.best_by_problem[3].score == best > -4


def test_trap_18_a_port_is_opened():
    """In gepa's unreleased version. Here nothing listens, and nothing connects."""
    seen = []
    watched = {"socket.bind", "socket.connect", "socket.listen"}
    is_on = [True]
    sys.addaudithook(lambda event, _: seen.append(event) if is_on[0] and event in watched else None)
    run(value_of, limit=5, isolation="process")
    run(by_example, dataset=[1, 2], limit=8, num_threads=2)
    is_on[0] = False
    assert seen == []


def test_trap_19_a_score_depends_on_when_it_was_measured():
    """An evaluator that is handed earlier solutions is refused, and told what to do instead."""

    def warm(candidate, opt_state=None):
        best = [each["score"] for each in opt_state.best_example_evals] if opt_state else []
        told.append((value_of(candidate), max([value_of(candidate), *best])))
        return told[-1][1]

    told, values = [], iter([5, 1, 2, 3, 4])
    gepa_run(warm, lambda prompt: f"```\nvalue: {next(values)}\n```", limit=10)
    # What is worse than what came before scores as much.
    assert (1, 5) in told
    with pytest.raises(SettingsError, match="component of its own"):
        run(warm)
