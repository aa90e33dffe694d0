"""What the doors are given: each name once, checked once, as attributes that can be set."""

import copy
import inspect
import pickle
from dataclasses import fields

import pytest
from swap_task import exact

from dspy_gepa import GEPA, optimize_anything
from dspy_gepa.compat.mipro import MIPROv2Arguments
from dspy_gepa.config.config import Config
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.improvement.config import AnythingArguments


def defaults(function):
    """The arguments of a function that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def test_no_name_stands_in_two_groups():
    """So an argument is checked in one place, and found there by its name."""
    names = [each.name for group in fields(Config) for each in fields(group.default_factory)]
    names += [each.name for each in fields(MIPROv2Arguments)]
    assert len(names) == len(set(names))


def test_defaults_of_the_constructor_are_those_of_the_groups():
    """Whoever leaves an argument out gets what the signature says."""
    grouped = Config().arguments | vars(MIPROv2Arguments())
    given = defaults(GEPA.__init__)
    assert given.pop("gepa_kwargs") is None
    assert given == {name: grouped[name] for name in given}


def test_defaults_of_optimize_anything_are_those_of_its_groups():
    """But for the timeout, which is one evaluation's there."""
    usual = AnythingArguments(artifact=None, evaluator=None).arguments
    given = defaults(optimize_anything)
    elsewhere = {"seed_candidate", "test_set", "batch_evaluator", "config", "timeout_seconds"}
    named = given.keys() - elsewhere
    assert {name: given[name] for name in named} == {name: usual[name] for name in named}


def test_every_argument_can_be_read_as_it_was_given():
    """As with DSPy's own optimizers; what was not given, by its default."""
    optimizer = GEPA(exact, max_metric_calls=30, prompt_model=str.upper)
    read = (optimizer.max_metric_calls, optimizer.prompt_model, optimizer.num_threads)
    assert read == (30, str.upper, None)
    assert optimizer.metric_fn is exact
    with pytest.raises(AttributeError, match="no attribute 'max_metric_call'"):
        optimizer.max_metric_call  # noqa: B018


@pytest.mark.parametrize("name", [*defaults(GEPA.__init__)])
def test_every_argument_is_a_setting_that_can_be_set_again(name):
    """Each is told, but for the key, and can be set to what it is."""
    optimizer = GEPA(exact)
    setattr(optimizer, name, getattr(optimizer, name))
    assert (name in optimizer.get_params()) == (name != "wandb_api_key")


def test_an_argument_that_is_set_later_is_checked_and_obeyed():
    """At the line that sets it, and by what is told of the settings."""
    optimizer = GEPA(exact)
    optimizer.num_threads = 4
    assert optimizer.get_params()["num_threads"] == 4
    with pytest.raises(SettingsError, match="num_threads=0"):
        optimizer.num_threads = 0
    optimizer.num_candidates = 7
    with pytest.raises(SettingsError, match="num_candidates"):
        optimizer.num_candidates = -1
    assert (optimizer.num_threads, optimizer.num_candidates) == (4, 7)


def test_a_subclass_keeps_attributes_of_its_own():
    """Also those that it sets before it calls ours."""

    class Mine(GEPA):
        def __init__(self, metric, note):
            self.note = note
            super().__init__(metric, max_metric_calls=9)
            self.later = [note]

    mine = Mine(exact, "first")
    assert (mine.note, mine.later, mine.max_metric_calls) == ("first", ["first"], 9)
    assert mine.get_params()["note"] == "first"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))]
)
def test_an_optimizer_can_be_copied_and_pickled(again):
    """Copies have the same settings, and changing one leaves the other as it is."""
    optimizer = GEPA(exact, max_metric_calls=30, seed=5)
    other = again(optimizer)
    assert other.get_params() == optimizer.get_params()
    other.seed = 6
    assert (optimizer.seed, other.seed) == (5, 6)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_metric_call", "max_metric_calls"),
        ("max_bootstraped_demos", "max_bootstrapped_demos"),
        ("reflection_ml", "reflection_lm"),
        ("guidence", "guidance"),
        ("objective", "guidance"),
        ("max_cost", "max_usd"),
        ("iterations", "max_proposals"),
        ("run_dir", "log_dir"),
        ("num_thread", "num_threads"),
        ("spesialists", "specialists"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(wrong, right):
    """A misspelt one of ours, or what others call it."""
    with pytest.raises(WrongType, match=f"GEPA has no argument '{wrong}'.*'{right}'"):
        GEPA(exact, **{wrong: None})


@pytest.mark.parametrize(
    ("wrong", "right"), [("max_eval", "max_evals"), ("evaluators", "evaluator"), ("k", "demos")]
)
def test_so_it_is_by_optimize_anything(wrong, right):
    """By its own names."""
    with pytest.raises(WrongType, match=f"optimize_anything has no argument '{wrong}'.*{right}"):
        optimize_anything("text", len, **{wrong: None})
