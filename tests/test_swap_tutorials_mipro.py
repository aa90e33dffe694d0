"""The uses of MIPROv2 in DSPy's documentation and tutorials, with GEPA in its place.

What is not here: `dspy.Audio` needs a sound file's reader, and is an input like any other; the
tutorials' data sets and hosted models.
"""

import dspy
import pytest
from dspy.evaluate import SemanticF1, answer_exact_match
from dspy.teleprompt import BetterTogether, BootstrapFewShot
from scripted_engine import answer, scripted_lm
from swap_task import (
    LEARNED,
    compiled,
    examples,
    gepa,
    instructions,
    task_lm,
    task_reply,
    teacher_lm,
)

from dspy_gepa import GEPA


def numeric(gold, pred, trace=None):
    """As the metric for arithmetic word problems: a bool."""
    return gold.answer == pred.answer


def recall(example, pred, trace=None):
    """As the agents' top-5 recall: a share, and pass or fail while bootstrapping."""
    found = float(example.answer in str(pred.answer))
    return found >= 1.0 if trace is not None else found


class RAG(dspy.Module):
    """Retrieves by a function and answers with it."""

    def __init__(self):
        self.respond = dspy.ChainOfThought("context, question -> response")

    def forward(self, question):
        return self.respond(context=["A book of codes."], question=question)


class Hop(dspy.Module):
    """Several hops with notes."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.ChainOfThought("question -> draft")
        self.answer = dspy.ChainOfThought("question, draft -> answer")

    def forward(self, question):
        return self.answer(question=question, draft=self.draft(question=question).draft)


class Arguments(dspy.Signature):
    """Extract the codes."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="the code")


SNIPPETS = {
    "MIPROv2.md, optimizer_tracking": (
        numeric,
        {"auto": "light", "num_threads": 24},
        lambda: dspy.ChainOfThought("question -> answer"),
        {},
    ),
    "cheatsheet, with demonstrations; math": (
        numeric,
        {"auto": "medium", "num_threads": 24},
        lambda: dspy.ChainOfThought("question -> answer").deepcopy(),
        {
            "max_bootstrapped_demos": 3,
            "max_labeled_demos": 4,
            "requires_permission_to_run": False,
        },
    ),
    "cheatsheet, without": (
        numeric,
        {"auto": "light"},
        lambda: dspy.ChainOfThought("question -> answer").deepcopy(),
        {"max_bootstrapped_demos": 0, "max_labeled_demos": 0},
    ),
    "optimizers.md, classification": (
        answer_exact_match,
        {"auto": "light", "num_threads": 24},
        lambda: dspy.ReAct("question -> answer", tools=[str.upper]),
        {},
    ),
    "agents": (
        recall,
        {"auto": "medium", "num_threads": 16, "max_errors": 999},
        lambda: dspy.ReAct("question -> answer", tools=[str.upper], max_iters=3),
        {},
    ),
    "entity_extraction": (
        recall,
        {"auto": "medium"},
        lambda: dspy.ChainOfThought(Arguments),
        {"max_bootstrapped_demos": 4, "minibatch": False},
    ),
    "audio, without the sound": (
        recall,
        {"auto": "light"},
        lambda: dspy.Predict("question -> answer"),
        {"minibatch": False, "data_aware_proposer": False},
    ),
    "multihop_search": (
        recall,
        {"auto": "medium", "num_threads": 16},
        Hop,
        {"minibatch_size": 40, "minibatch_full_eval_steps": 4},
    ),
}
"""Documents to metric, arguments of the constructor, program, and arguments of compile."""


def reply(prompt):
    if "next_tool_name" in prompt:
        return answer(next_thought="so", next_tool_name="finish", next_tool_args="{}")
    return task_reply(prompt)


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_with_the_class_exchanged(name):
    """The program gets better, nothing of the call is changed, and the metric sees no trace."""
    metric, settings, make, arguments = SNIPPETS[name]
    teacher, student = teacher_lm(), make()
    models = {"prompt_model": teacher, "teacher_settings": {"lm": task_lm()}}
    optimizer = GEPA(metric=metric, **settings, **models)
    with dspy.context(lm=scripted_lm(reply)):
        better = optimizer.compile(student, trainset=examples(8), **arguments)
        after = dspy.Evaluate(devset=examples(4), metric=metric, num_threads=2)(better).score
    assert after == 100.0
    assert LEARNED in instructions(better).values()
    assert better.score == 100.0
    assert better.candidate_programs[0]["score"] == 100.0
    assert instructions(better).keys() == instructions(student).keys()


def test_retrieval_with_a_semantic_metric():
    """tutorials/rag: SemanticF1(decompositional=True), demonstrations asked for."""

    def judged(prompt):
        if "`recall`" not in prompt:
            return task_reply(prompt)
        share = 0.2 if "unknown" in prompt.rpartition("system_response ## ]]")[2] else 1.0
        names = ("reasoning", "ground_truth_key_ideas", "system_response_key_ideas", "discussion")
        return answer(**dict.fromkeys(names, "x"), recall=share, precision=share)

    optimizer = GEPA(
        metric=SemanticF1(decompositional=True),
        auto="medium",
        num_threads=24,
        prompt_model=teacher_lm(),
    )
    with dspy.context(lm=scripted_lm(judged)):
        better = optimizer.compile(
            RAG(), trainset=examples(8), max_bootstrapped_demos=2, max_labeled_demos=2
        )
    assert instructions(better) == {"respond.predict": LEARNED}
    assert optimizer.result.mean_scores == pytest.approx((0.2, 1.0))


def test_a_chain_with_arguments_for_one_step():
    """BetterTogether's docstring: arguments of MIPROv2's compile for the step in its place."""
    student = dspy.Predict("question -> answer")
    student.set_lm(task_lm())
    chain = BetterTogether(
        metric=numeric,
        p=gepa(numeric, max_metric_calls=None),
        b=BootstrapFewShot(metric=numeric, max_bootstrapped_demos=1, max_labeled_demos=1),
    )
    best = chain.compile(
        student,
        trainset=examples(8),
        valset=examples(4),
        strategy="p -> b -> p",
        optimizer_compile_args={"p": {"num_trials": 10, "max_bootstrapped_demos": 0}},
    )
    assert not best.flag_compilation_error_occurred
    assert instructions(best) == {"self": LEARNED}
    assert best.candidate_programs[0]["score"] == 100.0


def test_an_ensemble_of_the_candidates():
    """optimizers.md: the programs that are listed on the result are run together."""
    better = compiled(gepa(numeric, num_candidates=3, max_metric_calls=None))
    programs = [entry["program"] for entry in better.candidate_programs[:2]]
    ensemble = dspy.Ensemble(reduce_fn=dspy.majority).compile(programs)
    with dspy.context(lm=task_lm()):
        assert ensemble(question="Which code has the bill?").answer in ("Q7", "unknown")
    assert len(programs) == 2
