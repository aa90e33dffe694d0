"""Worlds for tests of optimize_anything: scripted models and evaluators.

A model is shown a prompt and nothing else. The same ones answer for the gepa package.
"""

import itertools
import re
import threading

VALUE = re.compile(r"value: (-?\d+)")


def value_of(artifact):
    """The number that an artifact of these worlds holds."""
    return int(VALUE.search(artifact)[1])


def climber(step=1):
    """A model that adds to the highest value in sight."""

    def model(prompt):
        text = prompt if isinstance(prompt, str) else str(prompt)
        return f"```\nvalue: {max(map(int, VALUE.findall(text))) + step}\n```"

    return model


def grower(prompt):
    """A model that adds to each of several texts."""
    blocks = re.findall(r"## (\w+)\n\nvalue: (-?\d+)", prompt)
    return "\n".join(
        f'<new_text component="{name}">\nvalue: {int(value) + 1}\n</new_text>'
        for name, value in blocks
    )


def repeater(prompt):
    """A model that always says the same."""
    return "```\nvalue: 7\n```"


class Counted:
    """An evaluator that counts its calls, by text and example, and how many ran at once."""

    def __init__(self, evaluate, wait=None):
        self.evaluate = evaluate
        self.calls = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._wait = wait

    def __call__(self, artifact, example=None):
        with self._lock:
            self.calls.append((str(artifact), repr(example)))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self._wait is not None:
                self._wait()
            return self.evaluate(artifact) if example is None else self.evaluate(artifact, example)
        finally:
            with self._lock:
                self._now -= 1


class Meeting:
    """Where so many evaluations wait for each other, once; the first one of all, which has to be
    over before there are others, goes through."""

    def __init__(self, count):
        self._evaluations, self._all_here = itertools.count(), threading.Barrier(count)
        self._waiting = range(1, count + 1)

    def __call__(self):
        if next(self._evaluations) in self._waiting:
            self._all_here.wait(600)


def texts_of(result):
    """What a run did, in order: what was proposed and what became of it."""
    return [(dict(each.candidate), each.verdict) for each in result.proposals]
