"""gepa's configuration: every key is mapped, without meaning here, or refused with ours named."""

import dataclasses

import pytest
from gepa.optimize_anything import (
    EngineConfig,
    GEPAConfig,
    MergeConfig,
    RefinerConfig,
    ReflectionConfig,
    TrackingConfig,
)

from dspy_gepa.compat import gepa_config
from dspy_gepa.compat.gepa_config import mapped_config
from dspy_gepa.core.gate import at_least_as_good
from dspy_gepa.errors import SettingsError
from dspy_gepa.improvement.config import AnythingArguments

USUAL = AnythingArguments(artifact=None, evaluator=None).arguments


def mapped(config, **given):
    return given | mapped_config(config, USUAL | given, USUAL)


def test_defaults_say_nothing():
    """Neither of gepa's object nor of its parts, one of which is the model's name."""
    assert mapped(GEPAConfig()) == {}
    assert mapped(None) == {}
    assert mapped({}) == {}


def reached(view):
    return True


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        (GEPAConfig(engine=EngineConfig(max_metric_calls=7)), {"max_evals": 7}),
        (GEPAConfig(engine=EngineConfig(max_candidate_proposals=7)), {"max_proposals": 7}),
        (GEPAConfig(engine=EngineConfig(run_dir="x", seed=3)), {"log_dir": "x", "seed": 3}),
        (GEPAConfig(engine=EngineConfig(parallel=False)), {"num_threads": 1}),
        (GEPAConfig(engine=EngineConfig(max_workers=5)), {"num_threads": 5}),
        (GEPAConfig(engine=EngineConfig(capture_stdio=True)), {"capture_stdio": True}),
        (
            GEPAConfig(engine=EngineConfig(frontier_type="objective")),
            {"frontier_type": "objective"},
        ),
        (
            GEPAConfig(engine=EngineConfig(acceptance_criterion="improvement_or_equal")),
            {"gate": at_least_as_good},
        ),
        (GEPAConfig(engine=EngineConfig(cache_evaluation=True, raise_on_exception=False)), {}),
        (GEPAConfig(reflection=ReflectionConfig(reflection_lm="a/b")), {"reflection_lm": "a/b"}),
        (
            GEPAConfig(reflection=ReflectionConfig(reflection_minibatch_size=2)),
            {"reflection_minibatch_size": 2},
        ),
        (
            GEPAConfig(reflection=ReflectionConfig(module_selector="all")),
            {"component_selector": "all"},
        ),
        (GEPAConfig(tracking=TrackingConfig(use_mlflow=True)), {"use_mlflow": True}),
        (GEPAConfig(merge=MergeConfig()), {"use_merge": True}),
        (
            GEPAConfig(merge=MergeConfig(max_merge_invocations=2)),
            {"use_merge": True, "max_merge_invocations": 2},
        ),
        (GEPAConfig(stop_callbacks=reached), {"stop_callbacks": (reached,)}),
        ({"engine": {"max_metric_calls": 7, "parallel": True}}, {"max_evals": 7}),
        (
            {"max_evals": 7, "engine": "gepa", "max_concurrency": 3},
            {"max_evals": 7, "num_threads": 3},
        ),
    ],
)
def test_what_says_the_same_is_mapped(config, arguments):
    """As gepa's object and as a dict of dicts, in sections and in its newer flat form."""
    assert mapped(config) == arguments


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (GEPAConfig(engine=EngineConfig(max_reflection_cost=1.0)), "max_cost="),
        (GEPAConfig(engine=EngineConfig(sampling_strategy=object())), "window="),
        (GEPAConfig(reflection=ReflectionConfig(custom_candidate_proposer=len)), "reflection_lm="),
        (
            GEPAConfig(reflection=ReflectionConfig(reflection_lm_kwargs={"temperature": 1})),
            r"dspy.LM\(name",
        ),
        (GEPAConfig(merge=MergeConfig(merge_val_overlap_floor=2)), "use_merge"),
        (GEPAConfig(refiner=RefinerConfig(refiner_lm="a/b")), "reflection_lm="),
        (GEPAConfig(tracking=TrackingConfig(logger=object())), "logging"),
        ({"engine": {"max_metric_call": 3}}, "'max_metric_calls'"),
        ({"engines": {}}, "'engine'"),
        ({"engine": "best_of_n"}, "one engine"),
        ({"engine": "gepa", "output_dir": "x"}, "log_dir"),
        ({"engine": "gepa", "sandbox": False}, "isolation"),
        ({"max_token_cost": 3.0, "max_evals": 3}, "max_cost"),
        ("config", "dict of dicts"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_comes_nearest(config, said):
    """By the name of the key."""
    with pytest.raises(SettingsError, match=said):
        mapped(config)


def test_what_is_given_twice_is_refused():
    """Unless both say the same."""
    config = {"engine": {"max_metric_calls": 7}}
    assert mapped(config, max_evals=7) == {"max_evals": 7}
    with pytest.raises(SettingsError, match=r"max_evals= and config.engine.max_metric_calls"):
        mapped(config, max_evals=8)


@pytest.mark.parametrize(
    "section", [EngineConfig, ReflectionConfig, TrackingConfig, MergeConfig, RefinerConfig]
)
def test_no_key_of_gepa_is_unknown(section):
    """Each of its sections' fields has a rule."""
    name = section.__name__.removesuffix("Config").lower()
    for field in dataclasses.fields(section):
        assert field.name in gepa_config._SECTIONS[name]


def test_a_stopper_stands_for_the_score_to_stop_at():
    """Of gepa's newer form."""
    (stop,) = mapped({"engine": "gepa", "stop_at_score": 3.0})["stop_callbacks"]

    class View:
        program_full_scores_val_set = (1.0, 3.0)

    assert stop(View())
