"""Programs with tools, and a model that uses them."""

from __future__ import annotations

import dspy
from scripted_engine import answer, scripted_lm

__all__ = ["Desk", "agent", "asked", "look_up", "tool_user"]


def look_up(query: str, most: int = 3) -> str:
    """Looks it up.
    Returns lines."""
    return f"{most} lines about {query}"


def forget(topic: str) -> str:
    """Forgets it."""
    return f"no {topic} any more"


def agent(**given):
    return dspy.ReAct("question -> answer", tools=[look_up, forget], **given)


class Desk(dspy.Module):
    """Answers letters."""

    def __init__(self):
        super().__init__()
        self.clerk = dspy.ReAct("letter -> facts", tools=[look_up])
        self.writer = dspy.ChainOfThought("letter, facts -> reply")

    def forward(self, letter):
        return self.writer(letter=letter, facts=self.clerk(letter=letter).facts)


def _used(prompt):
    if "[[ ## next_tool_name ## ]]" in prompt:
        name = "finish" if "[[ ## observation_0 ## ]]" in prompt else "look_up"
        arguments = "{}" if name == "finish" else '{"query": "tea"}'
        return answer(next_thought="so", next_tool_name=name, next_tool_args=arguments)
    return answer(reasoning="so", answer="no", facts="tea", reply="tea")


def tool_user():
    """A model that looks something up, finishes and answers."""
    return scripted_lm(_used)


def asked(program, **inputs):
    """The prompts that a model is sent when the program is run."""
    lm = tool_user()
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        program(**inputs)
    return lm.engine.prompts
