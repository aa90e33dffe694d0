"""Pipelines that were written for dspy.GEPA and MIPROv2 run with this class in their place."""

import dspy
import label_task
import pytest
from dspy.teleprompt import BetterTogether, LabeledFewShot
from label_task import LEARNED, TRAIN, VALIDATION, exact, gepa

from dspy_gepa import GEPA
from dspy_gepa.core.budget import Limits
from dspy_gepa.errors import SettingsError, WrongType

pytestmark = pytest.mark.usefixtures("label_task_configured")


def compiled(optimizer, program, **arguments):
    return optimizer.compile(program, TRAIN, VALIDATION, **arguments)


class TestGepaNames:
    """Every name of dspy.GEPA's constructor is taken."""

    def test_all_names_at_their_defaults(self, program):
        """A call that spells out the built-in's defaults runs."""
        optimizer = gepa(
            auto=None,
            max_full_evals=None,
            reflection_minibatch_size=3,
            candidate_selection_strategy="pareto",
            skip_perfect_score=True,
            add_format_failure_as_feedback=False,
            instruction_proposer=None,
            code_proposer=None,
            component_selector="round_robin",
            use_merge=True,
            max_merge_invocations=5,
            num_threads=None,
            failure_score=0.0,
            perfect_score=1.0,
            log_dir=None,
            track_stats=False,
            use_wandb=False,
            wandb_api_key=None,
            wandb_init_kwargs=None,
            track_best_outputs=False,
            warn_on_score_mismatch=True,
            use_mlflow=False,
            seed=0,
            gepa_kwargs=None,
        )
        improved = compiled(optimizer, program)
        assert improved.signature.instructions == LEARNED
        assert not hasattr(improved, "detailed_results")

    @pytest.mark.parametrize("limit", [None, 0])
    def test_merging_can_be_switched_off(self, program, limit):
        """max_merge_invocations=None, documented as off, is off and does not crash."""
        improved = compiled(gepa(max_merge_invocations=limit), program)
        assert improved.signature.instructions == LEARNED

    def test_full_evals_count_both_sets(self, program):
        """max_full_evals is that often training and validation set."""
        optimizer = gepa(max_metric_calls=None, max_full_evals=2)
        compiled(optimizer, program)
        assert optimizer.result.state.settings.limits == Limits(metric_calls=40)

    def test_the_budget_of_auto_is_the_built_ins(self):
        """The numbers that the built-in's tutorials quote."""
        optimizer = gepa()
        expected = {(1, 45): (560, 915, 1350), (2, 100): (1330, 1740, 2045)}
        for (predictors, validation), calls in expected.items():
            found = [optimizer.auto_budget(predictors, n, validation) for n in (6, 12, 18)]
            assert tuple(found) == calls

    def test_an_object_that_selects_by_index(self, program):
        """A candidate selector of the gepa package sees the attributes that it reads."""
        seen = []

        class Newest:
            def select_candidate_idx(self, state):
                seen.append((state.i, state.program_full_scores_val_set, state.total_num_evals))
                assert len(state.program_candidates) == len(state.prog_candidate_val_subscores)
                assert state.program_at_pareto_front_valset.keys() == set(range(8))
                return len(state.program_candidates) - 1

        improved = compiled(gepa(search="paper", candidate_selection_strategy=Newest()), program)
        assert improved.signature.instructions == LEARNED
        # The first proposal starts from the seed, whatever a selector would say.
        assert seen == [(1, [0.0, 0.5], 22)]

    def test_a_selector_of_five_arguments(self, program):
        """A component selector is called as dspy.GEPA calls it."""
        seen = []

        def selector(state, trajectories, subsample_scores, candidate_idx, candidate):
            answers = [each["prediction"].code for each in trajectories]
            seen.append((subsample_scores, candidate_idx, list(candidate), answers))
            assert [set(t) for t in trajectories] == [
                {"example_ind", "example", "prediction", "trace", "score"}
            ] * 3
            assert state.list_of_named_predictors == ["self"]
            return ["self"]

        improved = compiled(gepa(component_selector=selector, reflection_minibatch_size=3), program)
        assert improved.signature.instructions == LEARNED
        assert seen[0] == ([0.0, 0.0, 0.0], 0, ["self"], ["unknown"] * 3)


class TestGepaKwargs:
    """Keys are mapped to our settings, or refused by name."""

    def test_they_go_before_direct_arguments(self, program):
        """Where both are given, gepa_kwargs holds; the built-in raises a TypeError there."""
        optimizer = gepa(seed=1, gepa_kwargs={"seed": 7, "max_merge_invocations": 2})
        compiled(optimizer, program)
        settings = optimizer.result.state.settings
        assert (settings.seed, settings.max_merge_invocations) == (7, 2)

    def test_what_is_done_anyway_is_taken(self, program):
        """Keys that ask for our only behaviour change nothing."""
        kwargs = {
            "frontier_type": "instance",
            "cache_evaluation": True,
            "use_cloudpickle": True,
            "val_evaluation_policy": "full_eval",
            "acceptance_criterion": "improvement_or_equal",
            "display_progress_bar": False,
        }
        improved = compiled(gepa(gepa_kwargs=kwargs), program)
        assert improved.signature.instructions == LEARNED

    def test_a_stop_callback_ends_the_run(self, program):
        """It is asked after every proposal, and the result says that it was it."""

        def enough(state):
            return len(state.program_candidates) == 2

        optimizer = gepa(gepa_kwargs={"stop_callbacks": [enough]})
        compiled(optimizer, program)
        assert len(optimizer.result.members) == 2
        assert "enough" in optimizer.result.stop_reason

    @pytest.mark.parametrize("kind", ["objective", "hybrid", "cartesian"])
    def test_frontiers_of_objectives(self, program, kind):
        """A metric with objective_scores has them as columns and in the statistics."""

        def metric(gold, pred, trace=None):
            score, feedback = label_task.metric(gold, pred)
            objectives = {"right": score, "brief": 1.0 / len(pred.code)}
            return dspy.Prediction(score=score, feedback=feedback, objective_scores=objectives)

        kwargs = {"frontier_type": kind, "reflection_minibatch_size": 3}
        optimizer = gepa(metric, track_stats=True, gepa_kwargs=kwargs)
        found = compiled(optimizer, program).detailed_results
        assert found.val_aggregate_subscores[2] == {"brief": 0.5, "right": 1.0}
        assert found.per_objective_best_candidates == {"brief": {2}, "right": {2}}
        assert found.objective_pareto_front == {"brief": 0.5, "right": 1.0}

    @pytest.mark.parametrize(
        ("kwargs", "words"),
        [
            ({"frontier_typ": "instance"}, "frontier_type"),
            ({"frontier_type": "pareto"}, "'cartesian'"),
            ({"reflection_strategy": object()}, "reflection_strategy"),
            ({"acceptance_criterion": "never"}, "strict_improvement"),
            ({"max_reflection_cost": 3.0}, "max_reflection_cost"),
        ],
    )
    def test_others_are_refused_by_name(self, kwargs, words):
        """The message names the key and what is allowed."""
        with pytest.raises(SettingsError, match=words):
            gepa(gepa_kwargs=kwargs)

    @pytest.mark.parametrize(
        ("name", "nearest"),
        [("task_modell", "'task_model'"), ("enable_tool_optimization", "'optimize'")],
    )
    def test_an_unknown_argument_names_the_nearest(self, name, nearest):
        """A typing error is no silence, and neither is what two releases of DSPy had."""
        with pytest.raises(WrongType, match=f"{name}.*{nearest}"):
            gepa(**{name: None})


class TestMipro:
    """MIPROv2's names, with their meaning here or one warning."""

    def test_its_models_are_used(self, program):
        """prompt_model reflects, task_model runs the program; neither is left on the result."""
        task, reflect = label_task.task_lm(), label_task.reflection_lm()
        optimizer = GEPA(
            label_task.metric,
            prompt_model=reflect,
            task_model=task,
            auto="light",
            max_bootstrapped_demos=0,
            max_labeled_demos=0,
        )
        with dspy.context(lm=None):
            improved = compiled(optimizer, program)
        assert improved.signature.instructions == LEARNED
        assert task.history
        assert reflect.history
        assert improved.lm is None

    def test_every_compile_name_is_taken(self, program, capsys):
        """What has no meaning here is said in one warning."""
        optimizer = gepa(max_errors=999, init_temperature=0.7, verbose=True)
        improved = compiled(
            optimizer,
            program,
            teacher=None,
            num_trials=None,
            max_bootstrapped_demos=0,
            max_labeled_demos=0,
            seed=3,
            minibatch=False,
            minibatch_size=40,
            minibatch_full_eval_steps=4,
            program_aware_proposer=False,
            data_aware_proposer=False,
            view_data_batch_size=5,
            tip_aware_proposer=False,
            fewshot_aware_proposer=False,
            requires_permission_to_run=False,
            provide_traceback=True,
        )
        assert improved.signature.instructions
        assert optimizer.result.state.settings.seed == 3
        lines = capsys.readouterr().err.splitlines()
        (warning,) = [line for line in lines if "change nothing here" in line]
        for name in ("max_errors", "init_temperature", "minibatch_size", "tip_aware_proposer"):
            assert name in warning

    def test_permission_is_refused_as_there(self, program):
        """requires_permission_to_run=True is a ValueError in both."""
        with pytest.raises(ValueError, match="requires_permission_to_run"):
            compiled(gepa(), program, requires_permission_to_run=True)

    @pytest.mark.parametrize(
        ("arguments", "limit"),
        [
            ({"num_trials": 5}, 48),
            ({"num_trials": 5, "minibatch_size": 4}, 36),
            ({"num_trials": 4, "minibatch": False}, 40),
        ],
    )
    def test_trials_are_a_budget(self, program, arguments, limit):
        """num_trials allows what MIPROv2 would spend on 8 validation examples."""
        optimizer = gepa(max_metric_calls=None)
        compiled(optimizer, program, **arguments)
        assert optimizer.result.state.settings.limits == Limits(metric_calls=limit)

    def test_statistics_are_left_as_it_leaves_them(self, program):
        """score and candidate_programs in percent, sorted; nothing becomes a parameter."""
        improved = compiled(gepa(exact, search="paper", num_candidates=6), program)
        assert improved.score == 0.0
        improved = compiled(gepa(search="paper", num_candidates=6), program)
        assert improved.score == 100.0
        found = [entry["score"] for entry in improved.candidate_programs]
        assert found == sorted(found, reverse=True) == [100.0, 50.0, 0.0]
        best = improved.candidate_programs[0]["program"]
        assert best.signature.instructions == LEARNED
        assert improved.trial_logs[3]["full_eval_score"] == 100.0
        assert improved.trial_logs[3]["0_predictor_instruction"] == LEARNED
        assert improved.mb_candidate_programs == []
        assert [name for name, _ in improved.named_parameters()] == ["self"]

    def test_demonstrations_that_do_not_help_are_left_out(self, program):
        """The program stays as it is where validation does not rise."""
        optimizer = gepa(max_labeled_demos=2, max_bootstrapped_demos=2)
        improved = compiled(optimizer, program)
        assert improved.demos == []
        assert improved.signature.instructions == LEARNED
        assert optimizer.result.tally.metric_calls <= 200

    def test_demonstrations_that_a_program_has_stay(self, program):
        """Without being asked for new ones, the old ones are kept."""
        program.demos = [dspy.Example(message="Something about the bill.", code="Q7")]
        assert compiled(gepa(), program).demos == program.demos


class TestBetterTogether:
    """Chains of optimizers."""

    @pytest.mark.parametrize("with_teacher", [False, True])
    def test_a_chain_with_and_without_a_teacher(self, program, with_teacher):
        """p -> g -> p runs to its end, where the built-in fails with a teacher.

        BetterTogether passes teachers as a list, which DSPy's BootstrapFewShot cannot take.
        """
        lm = label_task.task_lm()
        program.set_lm(lm)
        chain = BetterTogether(
            metric=exact,
            p=LabeledFewShot(k=1),
            g=gepa(),
        )
        teacher = program.deepcopy() if with_teacher else None
        best = chain.compile(
            program,
            trainset=label_task.examples(12),
            valset=label_task.examples(8),
            teacher=teacher,
            strategy="p -> g -> p",
        )
        assert not best.flag_compilation_error_occurred
        assert [each["strategy"] for each in best.candidate_programs]
        assert best.signature.instructions == LEARNED
