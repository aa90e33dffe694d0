"""A question-and-answer task under the field names that DSPy's own metrics and programs expect.

The model knows the code of a topic only from its instruction; the reflecting model writes an
instruction with every rule, so that one proposal solves the task.
"""

import dspy
import label_task
from scripted_engine import answer, new_texts, scripted_lm

from dspy_gepa import GEPA

__all__ = [
    "CODES",
    "LEARNED",
    "compiled",
    "exact",
    "examples",
    "gepa",
    "instructions",
    "task_lm",
    "task_reply",
    "teacher_lm",
]

CODES = label_task.CODES
LEARNED = "Give the code. " + "; ".join(f"{topic} means {code}" for topic, code in CODES.items())


def examples(count):
    """So many questions, the topics in turn."""
    topics = [topic for _, topic in zip(range(count), count * list(CODES), strict=False)]
    return [
        dspy.Example(
            question=f"Which code has the {topic}, case {number}?",
            answer=CODES[topic],
            response=CODES[topic],
            context=f"A book of codes, page {number}.",
        ).with_inputs("question")
        for number, topic in enumerate(topics)
    ]


def task_reply(prompt):
    """The code of the last question's topic, where a rule in the prompt gives it."""
    asked = prompt.rpartition("[[ ## question ## ]]")[2]
    topic = next(topic for topic in CODES if topic in asked)
    is_told = f"{topic} means {CODES[topic]}" in prompt
    code = CODES[topic] if is_told else "unknown"
    return answer(reasoning="so", draft="none", answer=code, response=code)


def task_lm(**settings):
    """A model that answers under every field name of this task."""
    return scripted_lm(task_reply, **settings)


def teacher_lm():
    """A reflecting model that knows all the rules."""
    return scripted_lm(lambda prompt: new_texts(prompt, LEARNED))


def exact(gold, pred, trace=None):
    """A metric without feedback."""
    return float(gold.answer == pred.answer)


def gepa(metric, **settings):
    """An optimizer that needs one proposal."""
    return GEPA(metric, **{"max_metric_calls": 80, "reflection_lm": teacher_lm(), **settings})


def compiled(optimizer, program=None, *, lm=None):
    """What the optimizer makes of a program for this task."""
    program = dspy.Predict("question -> answer") if program is None else program
    with dspy.context(lm=lm or task_lm()):
        return optimizer.compile(program, trainset=examples(8), valset=examples(4))


def instructions(program):
    """Component to instruction."""
    return {name: each.signature.instructions for name, each in program.named_predictors()}
