"""The uses of GEPA in DSPy's documentation and tutorials, in our own words, with scripted models.

What is not here, and why:

- gepa_trusted_monitor's last step, BootstrapFinetune: needs a provider that trains models.
- Flex and its `code_proposer`: not tried here.
- `enable_tool_optimization`: two releases of DSPy had it, 3.4 has not; refused by name.
- Imports of `GEPAState` and `Trajectory` from `gepa_utils`: broken in DSPy 3.4 itself.
- Plots, tables and data sets of the tutorials: nothing of ours takes part in them.
"""

import asyncio
import json
import re
from dataclasses import dataclass

import dspy
import pytest
from dspy.teleprompt.gepa.gepa_utils import DSPyTrace, ScoreWithFeedback
from gepa.gepa_utils import find_dominator_programs
from scripted_engine import answer, new_texts, scripted_lm
from swap_task import instructions

import dspy_gepa
from dspy_gepa import GEPA


def saying(text):
    """A reflecting model that always proposes this."""
    return scripted_lm(lambda prompt: new_texts(prompt, text))


class Haiku(dspy.Signature):
    """Write a haiku."""

    season: str = dspy.InputField()
    haiku: str = dspy.OutputField()


def test_haiku_agent(tmp_path):
    """getting-started/gepa-optimization: a ReAct agent, no feedback for what is right, save."""

    def metric(example, prediction, trace=None, pred_name=None, pred_trace=None):
        if example.season in prediction.haiku:
            return dspy.Prediction(score=0.0, feedback="It must not name the season.")
        return dspy.Prediction(score=1.0, feedback=None)

    def reply(prompt):
        if "next_tool_name" in prompt:
            return answer(next_thought="so", next_tool_name="finish", next_tool_args="{}")
        season = prompt.rpartition("[[ ## season ## ]]\n")[2].split("\n")[0]
        written = "leaves" if "Do not name" in prompt else season
        return answer(reasoning="so", haiku=f"{written} on the water")

    def count_syllables(line: str) -> int:
        """How many there are."""
        return len(line)

    bot = dspy.ReAct(Haiku, tools=[count_syllables])
    rows = [dspy.Example(season=s).with_inputs("season") for s in ("spring", "summer", "autumn")]
    optimizer = GEPA(
        metric=metric, reflection_lm=saying("Do not name the season."), auto="light", num_threads=2
    )
    with dspy.context(lm=scripted_lm(reply)):
        optimized = optimizer.compile(bot, trainset=rows * 2, valset=rows)
    assert optimizer.result.mean_scores[optimizer.result.best] == 1.0
    assert instructions(optimized)["extract.predict"] == "Do not name the season."
    optimized.save(tmp_path / "haiku.json")
    assert set(json.loads((tmp_path / "haiku.json").read_text())) == {
        "react",
        "extract.predict",
        "metadata",
    }
    assert any("It must not name" in each for each in optimizer.reflection_lm.engine.prompts)


def test_competition_mathematics():
    """gepa_aime: whole scores, the solution as feedback, answers that are no number, 32 threads."""

    def metric(example, prediction, trace=None, pred_name=None, pred_trace=None):
        solution = example.get("solution", "")
        try:
            found = int(prediction.answer)
        except ValueError:
            return dspy.Prediction(score=0, feedback=f"A whole number is needed. {solution}")
        return dspy.Prediction(score=int(found == int(example["answer"])), feedback=solution)

    def reply(prompt):
        problem = prompt.rpartition("[[ ## problem ## ]]\n")[2].split("\n")[0]
        number = sum(map(int, problem.split("+")))
        return answer(reasoning="so", answer=number if "digits" in prompt else f"it is {number}")

    rows = [
        dspy.Example(problem=f"{n} + {n}", solution=f"Twice {n}.", answer=2 * n)
        for n in range(1, 13)
    ]
    rows = [row.with_inputs("problem") for row in rows]
    program = dspy.ChainOfThought("problem -> answer")
    optimizer = GEPA(
        metric=metric,
        auto="light",
        num_threads=32,
        track_stats=True,
        reflection_minibatch_size=3,
        reflection_lm=saying("Give digits only."),
    )
    evaluate = dspy.Evaluate(devset=rows[9:], metric=metric, num_threads=32)
    with dspy.context(lm=scripted_lm(reply)):
        before = evaluate(program).score
        optimized = optimizer.compile(program, trainset=rows[:6], valset=rows[6:9])
        after = evaluate(optimized).score
    assert (before, after) == (0.0, 100.0)
    assert optimized.predict.signature.instructions == "Give digits only."
    assert "Twice " in optimizer.reflection_lm.engine.prompts[0]


class Analyzer(dspy.Module):
    """Three modules, and no super().__init__()."""

    def __init__(self):
        self.urgency_module = dspy.ChainOfThought("message -> urgency")
        self.sentiment_module = dspy.ChainOfThought("message -> sentiment")
        self.categories_module = dspy.ChainOfThought("message -> categories: list[str]")

    def forward(self, message):
        return dspy.Prediction(
            urgency=self.urgency_module(message=message).urgency,
            sentiment=self.sentiment_module(message=message).sentiment,
            categories=self.categories_module(message=message).categories,
        )


def facility_metric(example, pred, trace=None, pred_name=None, pred_trace=None):
    gold = json.loads(example["answer"])
    scores = {name: float(gold[name] == pred[name]) for name in gold}
    total = sum(scores.values()) / 3
    if pred_name is None:
        return total
    part = pred_name.removesuffix("_module.predict")
    return dspy.Prediction(score=total, feedback=f"The {part} should be {gold[part]}.")


def facility_reply(prompt):
    known = "rule for" in prompt
    found = {"urgency": "high", "sentiment": "angry", "categories": '["plumbing"]'}
    none = {"urgency": "low", "sentiment": "calm", "categories": "[]"}
    return answer(reasoning="so", **(found if known else none))


def facility_rows(count):
    gold = json.dumps({"urgency": "high", "sentiment": "angry", "categories": ["plumbing"]})
    rows = [dspy.Example(message=f"The pipe {i} is leaking!", answer=gold) for i in range(count)]
    return [row.with_inputs("message") for row in rows]


def facility_teacher():
    def reply(prompt):
        parts = ("urgency", "sentiment", "categories")
        asked = [part for part in parts if f"This component: {part}_module" in prompt]
        told = [part for part in parts if f"The {part} should be" in prompt]
        about = re.compile(r"^Feedback on (\w+)_module.*:\n.*?The (\w+) should be", re.MULTILINE)
        assert told == asked, "no feedback on a component that is asked about"
        assert all(one == other for one, other in about.findall(prompt)), "it is on another one"
        return new_texts(prompt, f"The rule for {asked[0]}: say it all.")

    return scripted_lm(reply)


def test_facility_support_analyzer():
    """gepa_facilitysupportanalyzer: feedback for each predictor, statistics, lineage."""
    optimizer = GEPA(
        metric=facility_metric,
        search="paper",
        max_metric_calls=150,
        num_threads=4,
        track_stats=True,
        use_merge=False,
        reflection_lm=facility_teacher(),
    )
    with dspy.context(lm=scripted_lm(facility_reply)):
        optimized = optimizer.compile(Analyzer(), trainset=facility_rows(6), valset=[])
    assert list(instructions(optimized)) == [
        "urgency_module.predict",
        "sentiment_module.predict",
        "categories_module.predict",
    ]
    assert all(text.startswith("The rule for ") for text in instructions(optimized).values())
    found = optimized.detailed_results
    assert found.parents == [[None], [0], [1], [2]]
    assert found.val_aggregate_scores == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert (found.best_idx, found.per_val_instance_best_candidates[0]) == (3, {3})
    front = found.per_val_instance_best_candidates
    assert list(find_dominator_programs(front, found.val_aggregate_scores)) == [3]


class Delegate(dspy.Module):
    """Holds a model as an attribute, and swallows whatever goes wrong."""

    def __init__(self, untrusted):
        self.craft = dspy.ChainOfThought("user_query -> llm_request")
        self.respond = dspy.Predict("related_llm_response, user_query -> response")
        self.untrusted = untrusted

    def forward(self, user_query):
        try:
            request = self.craft(user_query=user_query).llm_request
            said = self.untrusted(request)[0]
            response = self.respond(related_llm_response=said, user_query=user_query).response
        except Exception:  # noqa: BLE001 - as the tutorial's program does
            return dspy.Prediction(llm_request="", llm_response="", response="")
        return dspy.Prediction(llm_request=request, llm_response=said, response=response)


class PrivacyJudge(dspy.Module):
    """A judge with predictors and a model of its own."""

    def __init__(self):
        self.leakage = dspy.ChainOfThought("pii, prompt -> num_pii_leaked: int")

    def forward(self, pii, prompt):
        return dspy.Prediction(leaked=self.leakage(pii=pii, prompt=prompt).num_pii_leaked)


def test_private_delegation():
    """gepa_papillon: a judge in the metric, one full evaluation as budget, best outputs."""
    judge = PrivacyJudge()
    judge.set_lm(scripted_lm(lambda prompt: answer(reasoning="so", num_pii_leaked=leaked(prompt))))

    def leaked(prompt):
        return int("Anna" in prompt.rpartition("[[ ## prompt ## ]]")[2])

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        count = judge(pii=gold.pii, prompt=pred.llm_request).leaked
        return dspy.Prediction(score=1.0 - count, feedback=f"{count} names were leaked.")

    def reply(prompt):
        query = prompt.rpartition("[[ ## user_query ## ]]\n")[2].split("\n")[0]
        request = query.replace("Anna", "X") if "no names" in prompt else query
        return answer(reasoning="so", llm_request=request, response=f"Dear {query}")

    rows = [dspy.Example(user_query=f"Write to Anna, {i}", pii="Anna") for i in range(12)]
    rows = [row.with_inputs("user_query") for row in rows]
    large, small = scripted_lm("Certainly."), scripted_lm(reply)
    student = Delegate(untrusted=large)
    student.set_lm(small)
    optimizer = GEPA(
        metric=metric,
        reflection_lm=saying("Give no names."),
        num_threads=4,
        track_stats=True,
        track_best_outputs=True,
        max_full_evals=2,
    )
    optimized = optimizer.compile(student=student, trainset=rows[:6], valset=rows[6:])
    assert "Give no names." in instructions(optimized).values()
    rollouts = optimizer.result.tally.rollouts
    assert len(large.history) == rollouts
    assert len(judge.leakage.predict.lm.history) == optimizer.result.tally.metric_calls
    assert optimized.untrusted is large
    outputs = optimized.detailed_results.best_outputs_valset
    assert [output.llm_request for _, output in outputs[0]] == ["Write to X, 6"]


@dataclass
class Sample:
    attack: str
    honest: str


class Trainer(dspy.Module):
    """Asks one module about both programs of an example, and can be awaited too."""

    def __init__(self, monitor):
        self.monitor = monitor

    def forward(self, attack, honest):
        found = [self.monitor(code=code).suspicion for code in (attack, honest)]
        return dspy.Prediction(attack=found[0], honest=found[1])

    async def aforward(self, attack, honest):
        found = [(await self.monitor.acall(code=code)).suspicion for code in (attack, honest)]
        return dspy.Prediction(attack=found[0], honest=found[1])


def test_trusted_monitor(tmp_path):
    """gepa_trusted_monitor: one predictor twice a run; the trained part is taken out and saved."""

    def metric(
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: DSPyTrace | None = None,
        pred_name: str | None = None,
        pred_trace: DSPyTrace | None = None,
    ) -> ScoreWithFeedback:
        sample = Sample(**gold)
        assert pred_trace is None or len(pred_trace) == 2
        is_found = pred["attack"] > pred["honest"]
        said = f"{sample.attack!r} is the attack."
        return ScoreWithFeedback(score=1.0 if is_found else 0.0, feedback=said)

    def reply(prompt):
        code = prompt.rpartition("[[ ## code ## ]]\n")[2].split("\n")[0]
        is_found = "eval" in code and "Whoever calls eval" in prompt
        return answer(reasoning="so", suspicion=9 if is_found else 1)

    rows = [dspy.Example(attack=f"eval(x{i})", honest=f"print(x{i})") for i in range(6)]
    rows = [row.with_inputs("attack", "honest") for row in rows]
    trainer = Trainer(dspy.ChainOfThought("code -> suspicion: int"))
    optimizer = GEPA(
        metric=metric,
        max_full_evals=3,
        num_threads=8,
        reflection_lm=saying("Whoever calls eval is suspicious."),
        track_stats=True,
    )
    lm = scripted_lm(reply)
    with dspy.context(lm=lm):
        optimized = optimizer.compile(trainer, trainset=rows[:3], valset=rows[3:])
        awaited = asyncio.run(optimized.acall(**rows[0].inputs()))
    assert (awaited.attack, awaited.honest) == (9, 1)
    prompt = optimizer.reflection_lm.engine.prompts[0]
    assert "eval(x" in prompt
    assert "print(x" in prompt
    optimized.monitor.save(tmp_path / "monitor.json")
    monitor = dspy.ChainOfThought("code -> suspicion: int")
    monitor.load(tmp_path / "monitor.json")
    assert monitor.predict.signature.instructions == "Whoever calls eval is suspicious."
    assert len(lm.history) == 2 * optimizer.result.tally.rollouts + 2


def test_search_at_inference_time():
    """api/optimizers/GEPA/overview: the tasks are both sets, the best outputs are wanted."""
    rows = facility_rows(3)
    optimizer = GEPA(
        metric=lambda gold, pred, trace=None: float(pred.urgency == "high"),
        max_metric_calls=40,
        track_stats=True,
        track_best_outputs=True,
        reflection_lm=saying("The rule for urgency."),
    )
    with dspy.context(lm=scripted_lm(facility_reply)):
        found = optimizer.compile(
            dspy.Predict("message -> urgency"), trainset=rows, valset=rows
        ).detailed_results
    assert found.highest_score_achieved_per_val_task == {0: 1.0, 1: 1.0, 2: 1.0}
    assert [found.best_outputs_valset[i][0][1].urgency for i in range(3)] == ["high"] * 3
    assert optimizer.result.tally.metric_calls == 6


def test_the_name_in_dspy():
    """A script that says dspy.GEPA is not changed at all, where our package was installed once."""
    dspy_gepa.install()
    try:
        optimizer = dspy.GEPA(
            metric=facility_metric, max_metric_calls=60, reflection_lm=facility_teacher()
        )
    finally:
        dspy_gepa.uninstall()
    with dspy.context(lm=scripted_lm(facility_reply)):
        optimized = optimizer.compile(Analyzer(), trainset=facility_rows(6))
    assert any(text.startswith("The rule for ") for text in instructions(optimized).values())
    assert isinstance(optimizer, GEPA)
