"""Arguments and data as scripts have them: from numpy, from data frames and data sets."""

import dspy
import numpy as np
import pytest
from stable_ids import stable_id
from swap_task import LEARNED, exact, examples, gepa, instructions, task_lm

from dspy_gepa import GEPA, optimize_anything
from dspy_gepa.errors import SettingsError, WrongType


def compiled(optimizer, trainset, valset=None, **arguments):
    with dspy.context(lm=task_lm()):
        program = dspy.Predict("question -> answer")
        return optimizer.compile(program, trainset, valset, **arguments)


def array(rows):
    """An array of objects; numpy would look into them otherwise."""
    made = np.empty(len(rows), dtype=object)
    made[:] = rows
    return made


class Series:
    """As pandas has it: goes through its values, and is neither true nor false."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)

    def __bool__(self):
        raise ValueError("The truth value of a Series is ambiguous.")


class DataSet:
    """As torch and Hugging Face have it: places and a length, and no iterator."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]


class Frame:
    """A table: to go through it gives the names of its columns."""

    columns = ("question", "answer")

    def __iter__(self):
        return iter(self.columns)

    def __bool__(self):
        raise ValueError("The truth value of a DataFrame is ambiguous.")

    def to_dict(self, orient):
        return []


class TestNumbers:
    """Numbers of numpy are numbers."""

    def test_whole_numbers_and_others(self, tmp_path):
        """The run, its limits and its journal have them as Python's own."""
        optimizer = gepa(
            exact,
            max_metric_calls=np.int64(80),
            max_seconds=np.float32(600),
            num_threads=np.uint8(2),
            window=np.array(2),
            seed=np.int32(3),
            reflection_minibatch_size=np.int16(3),
            failure_score=np.float64(0),
            perfect_score=np.float32(1),
            timeout_seconds=np.float64(60),
            log_dir=tmp_path / "run",
        )
        assert instructions(compiled(optimizer, examples(8), examples(4))) == {"self": LEARNED}
        settings = optimizer.result.state.settings
        assert settings.limits.metric_calls == 80
        for value in (settings.limits.metric_calls, settings.window, settings.seed):
            assert type(value) is int
        assert type(settings.perfect_score) is type(settings.limits.seconds) is float

    def test_the_seed_of_compile(self):
        """Also the arguments that compile has."""
        optimizer = gepa(exact, max_metric_calls=None)
        compiled(optimizer, examples(8), seed=np.int64(5), num_trials=np.int64(6))
        assert optimizer.result.state.settings.seed == 5

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"max_metric_calls": np.float64(80.5)}, "whole number"),
            ({"max_metric_calls": np.bool_(True)}, "whole number"),
            ({"max_metric_calls": np.array([80, 90])}, "one whole number"),
            ({"max_metric_calls": np.int64(0)}, "1 is the lowest"),
            ({"max_usd": np.array([1.0, 2.0])}, "number is needed"),
            ({"max_seconds": np.float64("nan")}, "finite number"),
            ({"failure_score": np.array([0.0, 1.0])}, "failure_score"),
            ({"search": np.array(["paper"])}, "allowed: 'default', 'paper'"),
            ({"auto": array(["light"])}, "'heavy'"),
            ({"seed_instructions": Series([1])}, "a dict from component to text"),
        ],
        ids=stable_id,
    )
    def test_what_is_no_number_is_refused_by_name(self, given, words):
        """No bare error about the truth value of an array."""
        with pytest.raises(SettingsError, match=words) as caught:
            GEPA(exact, **given)
        assert next(iter(given)) in str(caught.value)


class TestData:
    """Whatever holds examples is a data set."""

    @pytest.mark.parametrize("kind", [array, Series, DataSet, tuple, iter], ids=stable_id)
    def test_sets_of_examples(self, kind):
        """For learning, for choosing and for what must pass."""
        optimizer = gepa(exact, must_pass=kind(examples(1)))
        improved = compiled(optimizer, kind(examples(8)), kind(examples(4)))
        assert instructions(improved) == {"self": LEARNED}
        assert len(optimizer.result.state.settings.validation) == 4

    @pytest.mark.parametrize("kind", [array, Series, DataSet, list], ids=stable_id)
    def test_an_empty_one_is_none(self, kind):
        """As validation set it is left out; as training set it is refused."""
        optimizer = gepa(exact)
        compiled(optimizer, examples(4), kind([]))
        assert len(optimizer.result.state.settings.validation) == 4
        with pytest.raises(SettingsError, match="non-empty"):
            compiled(gepa(exact), kind([]))

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (Frame(), r"a Frame.*for row in trainset.to_dict\(\"records\"\)"),
            ({"train": examples(2)}, r"a dict.*trainset=data\['train'\]"),
            ([{"question": "?", "answer": "!"}], r"trainset\[0\] is a dict.*\*\*row"),
            (DataSet([{"question": "?"}]), r"trainset\[0\] is a dict"),
            (examples(1)[0], r"an? Example.*trainset=\[example\]"),
            ("rows.json", "a str, and a list of dspy.Example"),
            (3, "an int|a int"),
            (np.array([1, 2]), r"trainset\[0\] is a int64"),
            ([dspy.Example(question="?")], r"trainset\[0\] does not say .* with_inputs"),
        ],
        ids=stable_id,
    )
    def test_what_holds_no_examples_is_refused_with_a_recipe(self, given, words):
        """For the training set; the others are looked at in the same way."""
        with pytest.raises(SettingsError, match=words):
            compiled(gepa(exact), given)
        with pytest.raises(SettingsError, match=words.replace("trainset", "valset")):
            compiled(gepa(exact), examples(2), given)

    def test_values_of_numpy_in_examples(self, tmp_path):
        """Inputs and labels may be arrays and numbers of numpy, journal and resume included."""

        def metric(gold, pred, trace=None):
            return float(gold.answer == pred.answer and (gold.weights == 1).all())

        rows = [
            dspy.Example(
                question=each.question, answer=each.answer, weights=np.ones(3), n=np.int64(place)
            ).with_inputs("question")
            for place, each in enumerate(examples(8))
        ]
        for _ in range(2):
            optimizer = gepa(metric, log_dir=tmp_path)
            assert instructions(compiled(optimizer, rows, rows[:4])) == {"self": LEARNED}


class TestNames:
    """A name that there is not."""

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("max_metric_call", "max_metric_calls"),
            ("max_iterations", "max_proposals"),
            ("num_iterations", "max_proposals"),
            ("budget", "max_metric_calls"),
            ("reflection_model", "reflection_lm"),
            ("random_state", "seed"),
            ("n_threads", "num_threads"),
            ("bsize", "reflection_minibatch_size"),
            ("checkpoint_dir", "log_dir"),
            ("seed_candidate", "seed_instructions"),
            ("max_cost", "max_usd"),
            ("reflexion_lm", "reflection_lm"),
            ("trainset", "compile has it"),
            ("num_trials", "compile has it"),
            ("num_trial", "'num_trials' of compile"),
            ("devset", "'valset' here. It is an argument of compile"),
            ("stop_callbacks", "gepa_kwargs has it"),
            ("run_dir", "'log_dir' here"),
            ("mlflow_tracking_uri", "gepa_kwargs has it"),
            ("enable_tool_optimization", "'optimize' here"),
            ("maxMetricCalls", "max_metric_calls"),
            ("patience", "See help"),
            ("population", "See help"),
            ("teacher", "compile has it"),
            ("xyzzy", "help"),
        ],
    )
    def test_the_constructor_says_what_is_meant(self, given, words):
        """What it is called here, where another optimizer has that name; else the nearest."""
        with pytest.raises(WrongType, match=words) as caught:
            GEPA(exact, **{given: 3})
        assert f"GEPA has no argument '{given}'" in str(caught.value)
        assert isinstance(caught.value, TypeError)

    @pytest.mark.parametrize(
        ("given", "words"),
        [("max_metric_calls", r"GEPA\(\.\.\.\) has it"), ("devset", "valset"), ("xyzzy", "help")],
    )
    def test_compile_says_what_is_meant(self, given, words):
        """Before anything is spent."""
        with pytest.raises(WrongType, match=words):
            compiled(gepa(exact), examples(2), **{given: 3})

    def test_a_key_of_gepa_kwargs(self):
        """The same there."""
        with pytest.raises(SettingsError, match="max_proposals"):
            GEPA(exact, gepa_kwargs={"max_iterations": 3})


class TestPaths:
    """`log_dir` is the path of a directory."""

    def test_home(self, tmp_path, monkeypatch):
        """A tilde stands for it, and no directory of that name is made."""
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        compiled(gepa(exact, log_dir="~/runs/first"), examples(4))
        assert (tmp_path / "runs" / "first" / "best_program.json").exists()
        assert not (tmp_path / "~").exists()

    def test_any_kind_of_path(self, tmp_path):
        """A pathlib.Path is one, also through gepa_kwargs."""
        compiled(gepa(exact, log_dir=tmp_path / "a"), examples(4))
        compiled(gepa(exact, gepa_kwargs={"run_dir": tmp_path / "b"}), examples(4))
        assert {each.name for each in tmp_path.iterdir()} == {"a", "b"}

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "  ",
            b"runs",
            3,
            True,
            ["runs"],
            "a\0b",
            "s3://bucket/run",
            "~nobody-of-that-name/run",
        ],
        ids=repr,
    )
    def test_what_is_no_path_is_refused(self, given):
        """Before anything is spent."""
        with pytest.raises(SettingsError, match="log_dir"):
            GEPA(exact, log_dir=given)


def test_a_lone_observer_is_not_a_list():
    """Nothing is spent before that is said."""
    with pytest.raises(WrongType, match="observers"):
        GEPA(exact, observers=print)


def test_a_failure_cannot_score_above_perfection():
    """A crash would be the best answer; equal scores are how a metric from -100 to 0 is set up."""
    with pytest.raises(SettingsError, match="failure_score=2 is above perfect_score=1"):
        GEPA(exact, failure_score=2)
    GEPA(exact, failure_score=0, perfect_score=0)
    GEPA(exact, failure_score=2, perfect_score=None, skip_perfect_score=False)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("budget", "max_evals"),
        ("max_metric_calls", "max_evals"),
        ("max_usd", "max_cost"),
        ("metric", "evaluator"),
        ("trainset", "dataset"),
        ("seed_prompt", "artifact"),
        ("timeout", "timeout_seconds"),
    ],
)
def test_optimize_anything_names_arguments_that_it_has(name, ours):
    """What is called otherwise elsewhere, and in GEPA, is answered with its own names."""
    with pytest.raises(WrongType, match=f"{ours!r} here"):
        optimize_anything("a text", len, **{name: 1})
