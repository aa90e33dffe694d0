"""No secret reaches `log_dir`, and a run that has one in its texts can be carried on and read."""

import dspy
import label_task
import pytest
from scripted_engine import new_texts, scripted_lm

from dspy_gepa import GEPA, load_run
from dspy_gepa.testing.witness import outcome

KEY = "the-key-0123456789abcdef"
TRAIN, VALIDATION = label_task.examples(12), label_task.examples(20)[12:]


def telling(secret):
    """A reflection LM that puts a secret into every text that it writes."""

    def reply(prompt):
        rules = sorted(set(label_task.RULE.findall(prompt)))
        return new_texts(prompt, f"Log in with {secret}. {'; '.join(rules)}.")

    return scripted_lm(reply)


class Interrupted:
    """The metric, which interrupts the run at one of its calls."""

    __name__ = "metric"

    def __init__(self, at=None, say=""):
        self.calls, self.at, self.say = 0, at, say

    def __call__(self, gold, pred, trace=None):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        score, feedback = label_task.metric(gold, pred)
        return score, f"{feedback} {self.say}"


def compiled(folder, metric, secret=KEY, program=None, **settings):
    optimizer = GEPA(
        metric,
        reflection_lm=telling(secret),
        max_metric_calls=120,
        num_threads=1,
        log_dir=str(folder),
        **settings,
    )
    with dspy.context(lm=label_task.task_lm()):
        better = optimizer.compile(program or dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return better, optimizer.result


def texts_in(folder):
    return {path.name: path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def test_a_proposal_with_a_key_in_it_is_kept_and_carried_on(tmp_path, monkeypatch):
    """Whenever it is interrupted: the same run, read by whoever has the key or has it not, and the
    key in no file of it."""
    monkeypatch.setenv("MY_SERVICE_KEY", KEY)
    whole = Interrupted()
    better, expected = compiled(tmp_path / "whole", whole)
    assert KEY in better.signature.instructions
    for moment in (7, 13, 17, 23):
        folder = tmp_path / str(moment)
        first, second = Interrupted(moment), Interrupted()
        compiled(folder, first)
        again, result = compiled(folder, second)
        assert again.signature.instructions == better.signature.instructions
        assert outcome(result.state) == outcome(expected.state)
        assert first.calls + second.calls == whole.calls + 1
        assert not [name for name, text in texts_in(folder).items() if KEY in text]
    assert "[secret:MY_SERVICE_KEY]" in texts_in(folder)["best_program.json"]
    assert outcome(load_run(folder).result.state) == outcome(expected.state)
    monkeypatch.delenv("MY_SERVICE_KEY")
    read = load_run(folder).result
    assert [m.candidate.digest for m in read.members] == [
        m.candidate.digest for m in expected.members
    ]
    assert "[secret:MY_SERVICE_KEY]" in read.members[-1].candidate["self"]


def test_a_student_with_a_key_in_it_can_be_carried_on(tmp_path, monkeypatch):
    """What stands in the manifest is the student's own text."""
    monkeypatch.setenv("MY_SERVICE_KEY", KEY)
    student = dspy.Predict(dspy.Signature("message -> code", f"Use {KEY} to log in."))
    compiled(tmp_path, Interrupted(5), program=student)
    _, result = compiled(tmp_path, Interrupted(), program=student)
    assert result.improved
    assert not [name for name, text in texts_in(tmp_path).items() if KEY in text]


def judge_with(lm):
    """A metric with a judge of its own."""

    def metric(gold, pred, trace=None):
        score, feedback = label_task.metric(gold, pred)
        return score, f"{feedback} The judge's key is {lm.kwargs['api_key']}."

    return metric


def test_a_key_of_a_judge_is_kept_out(tmp_path):
    """It is reached through the metric."""
    compiled(tmp_path, judge_with(dspy.LM("openai/judge", api_key=KEY)), secret="nothing")
    assert not [name for name, text in texts_in(tmp_path).items() if KEY in text]


@pytest.mark.parametrize(
    ("settings", "leaked"),
    [
        ({"extra_headers": {"X-Team": f"team {KEY}"}}, f"X-Team: team {KEY}"),
        ({"extra_headers": {"Authorization": f"Bearer {KEY}"}}, f"token {KEY} is unknown"),
        ({"api_base": f"http://me:{KEY}@host/v1"}, f"cannot connect to http://me:{KEY}@host/v1"),
        ({"aws_secret_access_key": KEY}, f"signature of {KEY}"),
    ],
)
def test_what_a_server_repeats_of_a_bound_model_is_kept_out(tmp_path, settings, leaked):
    """In the words of its errors, and in the program that is saved."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.code = dspy.Predict("message -> code")
            self.other = dspy.Predict("message -> code")
            self.other.lm = dspy.LM("openai/x", **settings)

        def forward(self, message):
            if "case 3" in message:
                raise RuntimeError(leaked)
            return self.code(message=message)

    compiled(tmp_path, Interrupted(say=leaked), secret="nothing", program=Program())
    found = texts_in(tmp_path)
    assert "best_program.json" in found
    assert not [name for name, text in found.items() if KEY in text]
    fresh = Program()
    fresh.load(str(tmp_path / "best_program.json"))
    assert "means" in fresh.code.signature.instructions


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "OPENAI_KEY"])
def test_keys_of_the_environment_are_kept_out(tmp_path, name, monkeypatch):
    """Whatever says them."""
    monkeypatch.setenv(name, KEY)
    compiled(tmp_path, Interrupted(say=f"with {KEY}"))
    found = texts_in(tmp_path)
    assert not [file for file, text in found.items() if KEY in text]
    assert f"[secret:{name}]" in found["events.jsonl"]


@pytest.mark.parametrize("use", ["program", "reflection", "predictor"])
def test_the_key_of_any_model_of_the_run_is_kept_out(tmp_path, use):
    """Of the one that DSPy has configured, of the one that reflects, of a predictor's own."""
    task, reflecting = label_task.task_lm(), telling(KEY)
    program = dspy.Predict("message -> code")
    {"program": task, "reflection": reflecting, "predictor": task}[use].kwargs["api_key"] = KEY
    if use == "predictor":
        program.set_lm(task)
    optimizer = GEPA(
        label_task.metric, reflection_lm=reflecting, max_metric_calls=60, log_dir=tmp_path
    )
    with dspy.context(lm=task if use != "predictor" else label_task.task_lm()):
        better = optimizer.compile(program, TRAIN, VALIDATION)
    assert KEY in better.signature.instructions
    assert not [name for name, text in texts_in(tmp_path).items() if KEY in text]
