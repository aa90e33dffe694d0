"""A small task behind DSPy's public LM interface: a scripted model that follows a label policy.

The model answers a message right where its instruction states the code of the message's topic.
The reflecting model puts every code that the feedback names into the instruction.
"""

import re
import shutil
import signal

import dspy
from scripted_engine import answer, new_texts, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.core.events import Committed, Ended

CODES = {"bill": "Q7", "lock": "K2", "ship": "Z9", "leak": "M4"}
RULE = re.compile(r"\b(\w+ means \w\d)\b")
TOLD = "; ".join(sorted(f"{topic} means {code}" for topic, code in CODES.items())) + "."
LEARNED = f"Give the code. {TOLD}"
"""What is written where every topic was seen to fail."""


def examples(count, topics=tuple(CODES)):
    """So many examples, the topics in turn."""
    return [
        dspy.Example(
            message=f"Something about the {topics[i % len(topics)]}, case {i}.",
            code=CODES[topics[i % len(topics)]],
        ).with_inputs("message")
        for i in range(count)
    ]


TRAIN, VALIDATION = examples(12), examples(20)[12:]


class Pipeline(dspy.Module):
    """Two predictors with equal signatures, of which only the second decides."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("message -> code")
        self.final = dspy.Predict("message -> code")

    def forward(self, message):
        self.draft(message=message)
        return self.final(message=message)


def task_lm():
    """A model that knows a code only from its instruction."""

    def reply(prompt):
        message = prompt.rsplit("[[ ## message ## ]]", 1)[1]
        topic = next(topic for topic in CODES if topic in message)
        is_told = f"{topic} means {CODES[topic]}" in prompt
        return answer(code=CODES[topic] if is_told else "unknown")

    return scripted_lm(reply)


def reflection_lm():
    """A model that writes an instruction with every rule that stands in its prompt."""

    def reply(prompt):
        rules = sorted(set(RULE.findall(prompt)))
        return new_texts(prompt, f"Give the code. {'; '.join(rules)}.")

    return scripted_lm(reply)


def saying(*texts):
    """A reflection LM that gives these texts in turn, the last one again and again."""
    left = list(texts)

    def reply(prompt):
        return new_texts(prompt, left.pop(0) if len(left) > 1 else left[0])

    return scripted_lm(reply)


class Copying:
    """An observer that copies the run directory at every commit: what a death would leave.

    `copies` holds each copy's folder and the state at that time.
    """

    def __init__(self, folder):
        self.folder = folder
        self.copies = []

    def __call__(self, event, state):
        if isinstance(event, Committed):
            copy = self.folder.with_name(f"copy {len(self.copies)}")
            shutil.copytree(self.folder, copy)
            self.copies.append((copy, state))


def metric(gold, pred, trace=None):
    """Exact match, with the right code as feedback."""
    assert trace is None
    topic = next(topic for topic in CODES if topic in gold.message)
    return float(gold.code == pred.code), f"{topic} means {gold.code}"


def gepa(metric=metric, **settings):
    """An optimizer that has what it takes to learn every code."""
    return GEPA(metric, **{"max_metric_calls": 200, "reflection_lm": reflection_lm(), **settings})


def exact(example, pred, trace=None):
    """A MIPROv2 metric: no feedback, strict while bootstrapping."""
    is_right = example.code == pred.code
    return is_right if trace is not None else float(is_right)


class Counting:
    """The metric, with its calls, those of the search apart; something may happen at a call."""

    __name__ = "counting"

    def __init__(self, at=None, happens=None):
        self.calls = self.searched = 0
        self._at = at
        self._happens = happens

    def __call__(self, gold, pred, trace=None):
        self.calls += 1
        if self.calls == self._at:
            self._happens()
        return float(gold.code == pred.code), self.words(gold)

    def words(self, gold):
        """What it says of an example."""
        topic = next(each for each in CODES if each in gold.message)
        return f"{topic} means {gold.code}"

    def observe(self, event, _state):
        """Note where the search ends."""
        if isinstance(event, Ended):
            self.searched = self.calls


def interrupt():
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
