"""GEPA_Advanced in DSPy's documentation: proposers and selectors of one's own, each in a whole run.

What is not here stands at the top of test_swap_tutorials.py.
"""

import json

import dspy
import pytest
from dspy.teleprompt.gepa.gepa_utils import ReflectiveExample
from dspy.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
from gepa.core.adapter import ProposalFn
from scripted_engine import answer, scripted_lm
from swap_task import LEARNED, compiled, gepa, instructions, task_reply


def metric(example, pred, trace=None, pred_name=None, pred_trace=None):
    is_right = example.answer == pred.answer
    said = "" if is_right else f"the answer is {example.answer}, by the page on codes"
    return dspy.Prediction(score=float(is_right), feedback=said)


def improver():
    """A model that writes instructions in whatever field it is asked for."""
    return scripted_lm(
        lambda prompt: answer(
            reasoning="so",
            improved_instruction=LEARNED,
            failure_patterns="codes",
            retrieval_queries='["page on codes"]',
        )
    )


class WordLimit(ProposalFn):
    """Asks a predictor for a text of so many words at most."""

    def __init__(self, max_words):
        self.max_words = max_words
        self.improve = dspy.ChainOfThought(
            "current_instruction, feedback_summary, max_words -> improved_instruction"
        )

    def __call__(
        self,
        candidate: dict[str, str],
        reflective_dataset: dict[str, list[ReflectiveExample]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        texts = {}
        for name in components_to_update:
            if name not in candidate or name not in reflective_dataset:
                continue
            said = "\n".join(
                f"Example {number}: {each.get('Feedback', 'none')}"
                for number, each in enumerate(reflective_dataset[name], start=1)
            )
            texts[name] = self.improve(
                current_instruction=candidate[name],
                feedback_summary=said,
                max_words=self.max_words,
            ).improved_instruction
        return texts


class Library:
    """A retriever in the manner of a vector store's collection."""

    def __init__(self):
        self.queries = []

    def query(self, query_texts, n_results):
        self.queries += query_texts
        return {"documents": [[f"What to know of the {each}."] for each in query_texts]}


class Documented(ProposalFn):
    """Looks up guidelines for what went wrong before it writes."""

    def __init__(self, library):
        self.library = library
        self.ask = dspy.ChainOfThought(
            "current_instruction, examples_with_feedback -> failure_patterns, "
            "retrieval_queries: list[str]"
        )
        self.write = dspy.ChainOfThought(
            "current_instruction, relevant_documentation, examples_with_feedback "
            "-> improved_instruction"
        )

    def __call__(self, candidate, reflective_dataset, components_to_update):
        texts = {}
        for name in components_to_update:
            shown = reflective_dataset[name]
            asked = self.ask(current_instruction=candidate[name], examples_with_feedback=shown)
            found = self.library.query(query_texts=asked.retrieval_queries, n_results=3)
            texts[name] = self.write(
                current_instruction=candidate[name],
                relevant_documentation=str(found["documents"]),
                examples_with_feedback=shown,
            ).improved_instruction
        return texts


class External(ProposalFn):
    """Brings a model of its own."""

    def __init__(self):
        self.lm = improver()

    def __call__(self, candidate, reflective_dataset, components_to_update):
        with dspy.context(lm=self.lm):
            write = dspy.Predict("current_instruction -> improved_instruction")
            return {
                name: write(current_instruction=candidate[name]).improved_instruction
                for name in components_to_update
            }


def test_a_proposer_with_a_word_limit():
    """It runs on the reflection LM, is shown the feedback, and its calls are counted."""
    lm = improver()
    optimizer = gepa(metric, reflection_lm=lm, instruction_proposer=WordLimit(max_words=70))
    improved = compiled(optimizer)
    assert instructions(improved) == {"self": LEARNED}
    assert "by the page on codes" in lm.engine.prompts[0]
    assert len(lm.history) == optimizer.result.tally.reflection_calls


def test_a_proposer_that_looks_things_up():
    """Two predictors and a retriever; the records may be passed on as they are."""
    library = Library()
    optimizer = gepa(metric, reflection_lm=improver(), instruction_proposer=Documented(library))
    assert instructions(compiled(optimizer)) == {"self": LEARNED}
    assert set(library.queries) == {"page on codes"}
    assert "What to know of the page on codes." in optimizer.reflection_lm.engine.prompts[1]


def test_a_proposer_with_its_own_model():
    """reflection_lm=None is allowed then, and nobody else's model is asked."""
    proposer = External()
    optimizer = gepa(metric, reflection_lm=None, instruction_proposer=proposer)
    assert instructions(compiled(optimizer)) == {"self": LEARNED}
    assert len(proposer.lm.history) == optimizer.result.tally.reflection_calls > 0


def test_a_proposer_as_a_function():
    """Records have DSPy's three keys, and texts where the proposer is no multi-modal one."""
    seen = []

    def propose(candidate, reflective_dataset, components_to_update):
        seen.extend(reflective_dataset["self"])
        return dict.fromkeys(components_to_update, LEARNED)

    assert instructions(compiled(gepa(metric, instruction_proposer=propose))) == {"self": LEARNED}
    assert {tuple(each) for each in seen} == {("Inputs", "Generated Outputs", "Feedback")}
    assert {type(each["Feedback"]) for each in seen} == {str}
    assert seen[0]["Generated Outputs"] == {"answer": "unknown"}


def test_the_proposer_for_images():
    """MultiModalInstructionProposer through a whole run: the reflection LM is sent the picture."""

    def reply(prompt):
        return answer(label="cat" if "whiskers" in prompt else "dog")

    teacher = scripted_lm(answer(improved_instruction="Look for whiskers."))
    pictures = [f"https://example.com/{number}.png" for number in range(6)]
    rows = [dspy.Example(image=dspy.Image(url), label="cat") for url in pictures]
    rows = [row.with_inputs("image") for row in rows]
    optimizer = gepa(
        lambda gold, pred: gold.label == pred.label,
        reflection_lm=teacher,
        instruction_proposer=MultiModalInstructionProposer(),
    )
    with dspy.context(lm=scripted_lm(reply)):
        improved = optimizer.compile(dspy.Predict("image: dspy.Image -> label"), rows[:3], rows[3:])
    assert instructions(improved) == {"self": "Look for whiskers."}
    assert "https://example.com/" in json.dumps(teacher.history[0]["messages"], default=str)


class Halves:
    """Rewrites the first half of the components in even turns, the second half in odd ones."""

    def __init__(self):
        self.turns = []

    def __call__(self, state, trajectories, subsample_scores, candidate_idx, candidate):
        self.turns.append(state.i)
        assert len(trajectories) == len(subsample_scores)
        assert candidate == state.program_candidates[candidate_idx]
        names = list(candidate)
        middle = len(names) // 2
        return names[:middle] if state.i % 2 == 0 else names[middle:]


class Hops(dspy.Module):
    """Four predictors, of which the last one answers."""

    def __init__(self):
        super().__init__()
        self.hops = [dspy.Predict("question -> draft") for _ in range(3)]
        self.answer = dspy.Predict("question, draft -> answer")

    def forward(self, question):
        for hop in self.hops:
            draft = hop(question=question).draft
        return self.answer(question=question, draft=draft)


@pytest.mark.parametrize("proposer", [None, WordLimit(50)], ids=["ours", "word limit"])
def test_a_selector_of_halves_with_any_proposer(proposer):
    """Selector and proposer work together: only the chosen half is rewritten in a turn."""
    halves = Halves()
    settings = {} if proposer is None else {"reflection_lm": improver()}
    optimizer = gepa(
        metric,
        max_metric_calls=120,
        component_selector=halves,
        instruction_proposer=proposer,
        **settings,
    )
    improved = compiled(optimizer, Hops(), lm=scripted_lm(task_reply))
    before, after = instructions(Hops()), instructions(improved)
    assert halves.turns[:2] == [0, 1]
    assert [name for name in before if before[name] != after[name]] == ["hops[2]", "answer"]


def test_own_tools_in_a_loop():
    """An agent that holds dspy.Tool objects and calls them itself is optimized like any program."""

    def search(query: str) -> str:
        return f"found {query}"

    class Agent(dspy.Module):
        def __init__(self):
            super().__init__()
            self.tools = {"search": dspy.Tool(search, name="search", desc="Search tool")}
            self.next = dspy.Predict("question, tools: list[dspy.Tool] -> answer, tool")

        def forward(self, question):
            said = self.next(question=question, tools=list(self.tools.values()))
            self.tools[said.tool](query=question)
            return said

    def reply(prompt):
        return task_reply(prompt) + "\n\n[[ ## tool ## ]]\nsearch"

    student = Agent()
    improved = compiled(gepa(metric), student, lm=scripted_lm(reply))
    assert instructions(improved) == {"next": LEARNED}
    assert improved.tools["search"].desc == "Search tool"
