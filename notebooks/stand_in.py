"""Stand-ins for language models, so that the notebooks need no key and take a minute.

The house is a shop. Each kind of message goes to a desk whose code no model can know, and replies
follow a style of the house. `TaskLM` does what its instruction tells it in so many words, mostly,
and nothing else. `ReflectionLM` reads what a run shows to the model that rewrites instructions, and
keeps the rules that it finds there, a few at a time; now and then it forgets one. That is all they
can do. What the package does around them is what it does around real models.
"""

import re
import warnings
from hashlib import blake2b
from types import SimpleNamespace

import dspy

# DSPy 3.4 has a new way of writing a model of one's own; this one works from 3.3 on.
warnings.filterwarnings("ignore", "Implementing custom LMs", DeprecationWarning)

DESKS = {
    "refunds": ("Q4", "I was charged twice for the {thing} and want my money back."),
    "late parcels": ("H8", "The {thing} should have been here on {day}."),
    "wrong sizes": ("B2", "The {thing} is too small, I need the next size."),
    "broken goods": ("X7", "The {thing} arrived in two pieces on {day}."),
    "invoices": ("L1", "Please send the invoice for the {thing} to my office."),
    "passwords": ("K9", "I cannot log in since {day}."),
    "gift cards": ("G3", "My gift card was refused at the till on {day}."),
    "opening hours": ("T5", "Are you open on {day}?"),
}
"""Kind of message, to the code of its desk and to what customers write."""

STYLE = {
    "Begin with Dear customer.": lambda reply, order: reply.startswith("Dear customer"),
    "End with Your shop team.": lambda reply, order: reply.endswith("Your shop team"),
    "Write a # before the order number.": lambda reply, order: f"#{order}" in reply,
    "Use no exclamation marks.": lambda reply, order: "!" not in reply,
    "Promise an answer within two days.": lambda reply, order: "within two days" in reply,
}
"""Rule for replies, to whether a reply keeps it."""

_THINGS = ("coat", "lamp", "kettle", "chair", "clock", "basket", "mirror")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_SIGNS = ("money back", "should have been", "too small", "two pieces", "invoice", "log in",
          "gift card", "open on")  # fmt: skip
_DESK_RULE = re.compile(r"((?:\w+ )?\w+) go to ([A-Z]\d)")
_ADVICE = ("Be kind.", "Be brief.", "Use no exclamation marks.", "Think step by step.")


def messages(count, first=0):
    """So many messages of customers, all kinds in turn, each with the code of its desk."""
    examples = []
    for number in range(first, first + count):
        kind = [*DESKS][number % len(DESKS)]
        code, text = DESKS[kind]
        order = str(1000 + 37 * number)
        words = {"thing": _THINGS[number // 3 % 7], "day": _DAYS[number // 2 % 5]}
        example = dspy.Example(
            message=f"{text.format(**words)} Order {order}", kind=kind, code=code, order=order
        )
        examples.append(example.with_inputs("message"))
    return examples


def _chance(*labels):
    """A number from 0 to 1 that is the same for the same labels."""
    return int.from_bytes(blake2b(repr(labels).encode(), digest_size=6).digest(), "big") / 2**48


class _StandIn(dspy.BaseLM):
    def __init__(self):
        super().__init__(model="stand-in", cache=False)

    def forward(self, prompt=None, messages=None, **settings):
        """The reply in the form of a provider's, with about as many tokens as a model counts."""
        asked = prompt or "\n".join(message["content"] for message in messages)
        reply = self.reply(asked)
        tokens = [len(asked) // 4, len(reply) // 4]
        return SimpleNamespace(
            choices=[SimpleNamespace(message=SimpleNamespace(content=reply, tool_calls=None),
                                     finish_reason="stop")],
            usage={"prompt_tokens": tokens[0], "completion_tokens": tokens[1],
                   "total_tokens": sum(tokens)},
            model=self.model,
        )  # fmt: skip


class TaskLM(_StandIn):
    """Sorts messages and answers them, as its instruction says."""

    def reply(self, asked):
        """The output field, as DSPy's chat adapter reads it."""
        instruction, _, message = asked.rpartition("[[ ## message ## ]]")
        field = re.search(r"Your output fields are:\s+1\. `(\w+)`", asked)[1]
        answer = self._code(instruction, message) if field == "code" else ""
        answer = answer or self._reply(instruction, message)
        return f"[[ ## {field} ## ]]\n{answer}\n\n[[ ## completed ## ]]"

    def _code(self, instruction, message):
        kind = next(k for k, sign in zip(DESKS, _SIGNS, strict=True) if sign in message)
        told = dict(_DESK_RULE.findall(instruction.replace("- ", "")))
        if kind in told and _chance("code", instruction, message) < 0.95:
            return told[kind]
        return ("A1", "Q4", "H8", "C3")[int(4 * _chance("guess", instruction, message))]

    def _reply(self, instruction, message):
        order = re.search(r"Order (\d+)", message)[1]
        kept = {
            rule
            for rule in STYLE
            if rule in instruction and _chance("style", rule, instruction, message) < 0.97
        }
        begin, end, number, calm, promise = (rule in kept for rule in STYLE)
        parts = [
            "Dear customer," if begin else "Hi,",
            f"we are sorry about order {'#' if number else ''}{order}{'.' if calm else '!'}",
            "You will hear from us within two days." if promise else "You will hear from us.",
            "Your shop team" if end else "Bye",
        ]
        return " ".join(parts)


class ReflectionLM(_StandIn):
    """Writes rules that it is told into instructions, two new ones at a time."""

    def reply(self, asked):
        """A diagnosis and new texts, in the form that a run asks for."""
        page, _, form = asked.rpartition("# Your task")
        several = re.search(r"each component that is at fault, of (.*?);", form)
        named = re.search(r'<new_text component="(\w+)">', form)
        names = several[1].split(", ") if several else [named[1] if named else ""]
        blocks, learned = [], []
        for name in names:
            text = _current(page, name)
            first, *rules = text.replace("\n- ", "\n").split("\n")
            told = [rule for rule in _told(page, name) if rule not in rules][:2]
            added = told or _advice(page, name, rules)
            if not added:
                continue
            if len(rules) > 1 and _chance("forget", page, name) < 0.15:
                rules = rules[1:]
            learned += added
            lines = [first, *(f"- {rule}" for rule in [*rules, *added])]
            mark = f' component="{name}"' if name else ""
            blocks.append("\n".join([f"<new_text{mark}>", *lines, "</new_text>"]))
        if not blocks:
            return "<diagnosis>\nNothing new is said.\n</diagnosis>\n<no_change/>"
        why = f"The instruction did not say: {'; '.join(learned)}"
        return "\n".join(
            [f"<diagnosis>\n{why}\n</diagnosis>", *blocks, f"<lesson>\n{why}\n</lesson>"]
        )


def _current(page, name):
    """The instruction of a component as it is."""
    part = page.partition("# The instructions as they are")[2].partition("\n# ")[0]
    if f"## {name}\n" in part:
        part = part.partition(f"## {name}\n")[2].partition("\n## ")[0]
    return part.strip()


def _told(page, name):
    """The rules that remarks on a component name, in their order."""
    told = page.partition("# What the program did")[2]
    about = page.partition(f"This component: {name}.")[2].partition("\n\n")[0]
    rules = []
    if "`code`" in about or not about:
        rules += [f"{kind} go to {code}" for kind, code in _DESK_RULE.findall(told)]
    if "`reply`" in about or not about:
        rules += [rule for rule in STYLE if rule in told]
    return [*dict.fromkeys(rules)]


def _advice(page, name, rules):
    """A piece of advice that nobody asked for, where no remark names a rule."""
    left = [each for each in _ADVICE if each not in rules]
    return left[int(len(left) * _chance("advice", page, name)) :][:1]
