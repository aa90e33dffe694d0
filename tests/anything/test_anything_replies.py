"""Whatever an artifact is, a reply that holds one is read: it need be neither prose nor words."""

import json
import re

import pytest

from dspy_gepa import optimize_anything
from dspy_gepa.artifact.reading import kept

FORMS = {
    "marked": "<diagnosis>\nNo.\n</diagnosis>\n<new_text>\n{}\n</new_text>\n<lesson>\nx\n</lesson>",
    "marked and fenced": "<new_text>\n```{language}\n{}\n```\n</new_text>",
    "fenced": "It is too low, so I raise it.\n\n```{language}\n{}\n```\n\nThat should do.",
    "plain fence": "```\n{}\n```",
}
ARTIFACTS = {
    "numbers": ("1 2\n3 4", "9 2\n3 4", ""),
    "one number": ("1", "9", ""),
    "a list": ("[1, 2, 3]", "[9, 2, 3]", "json"),
    "a list of several lines": ("[1,\n 2]", "[9,\n 2]", "json"),
    "an object of one field": ('{"a": 1}', '{"a": 9}', "json"),
    "an object": ('{"a": 1, "b": "x"}', '{"a": 9, "b": "x"}', "json"),
    "a group": ("(a|b){1}", "(a|b){9}", "regex"),
    "a group alone": ("(a1|b)", "(a9|b)", "regex"),
    "signs only": ("+-+ 1", "+++ 9", ""),
    "YAML": ("prompt: |\n  say 1\n", "prompt: |\n  say 9", "yaml"),
    "an element": ("<p>1</p>", "<p>9</p>", "html"),
    "elements": ('<svg>\n<circle r="1"/>\n</svg>', '<svg>\n<circle r="9"/>\n</svg>', "svg"),
    "indented": ("  if a:\n    b = 1", "  if a:\n    b = 9", "python"),
    "a field of DSPy's": ("[[ ## answer ## ]]\n1", "[[ ## answer ## ]]\n9", ""),
    "a gap of its own": ("a = 1\n... (see below)", "a = 9\n... (see below)", "python"),
    "tabs": ("all:\n\techo 1", "all:\n\techo 9", "make"),
}


def digits(artifact):
    return float(max(map(int, re.findall(r"\d", artifact))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_of_any_shape_is_read_to_the_character(name, form):
    """Numbers, lists, JSON, patterns, markup: in our marks, in a fence, in both. What ended with a
    line break still does."""
    seed, better, language = ARTIFACTS[name]
    reply = FORMS[form].replace("{language}", language).replace("{}", better)
    result = optimize_anything(
        seed, digits, objective="Raise it.", reflection_lm=lambda _prompt: reply, max_evals=2
    )
    assert result.optimized_artifact == better + ("\n" if seed.endswith("\n") else "")
    assert result.score == 9


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("last", [True, False], ids=["with a last one", "without"])
@pytest.mark.parametrize(
    "reply",
    [
        "```\na\nvalue 9\n\nb\n```",
        "```\r\na\r\nvalue 9\r\n\r\nb\r\n```",
        "<new_text>\na\nvalue 9\n\nb\n</new_text>",
        "<edit>\n<old>\nvalue 1\n</old>\n<new>\nvalue 9\n\n</new>\n</edit>",
    ],
    ids=["a fence", "a fence with its own", "our marks", "an edit"],
)
def test_lines_end_as_those_of_the_first_artifact(reply, last, end):
    """What is evaluated and what comes back, whatever the reply's lines end in."""
    seen = []

    def evaluator(artifact):
        seen.append(artifact)
        return digits(artifact)

    seed = f"a{end}value 1{end}b" + end * last
    result = optimize_anything(
        seed, evaluator, objective="Raise it.", reflection_lm=lambda _: reply, max_evals=2
    )
    better = f"a{end}value 9{end}{end}b" + end * last
    assert seen == [seed, better]
    assert result.optimized_artifact == better


def test_of_several_texts_each_keeps_its_line_ends():
    """A single line goes by the others; one whose lines end in several ways comes with newlines."""
    seed = {"dos": "a\r\n1", "unix": "a\n1", "mixed": "a\r\nb\n1", "single": "1"}
    new = "a\r\nb\n9"
    reply = "\n".join(f'<new_text component="{name}">\n{new}\n</new_text>' for name in seed)
    result = optimize_anything(
        seed,
        lambda artifact: digits(" ".join(artifact.values())),
        objective="Raise it.",
        reflection_lm=lambda _: reply,
        max_evals=2,
    )
    expected = {"dos": "a\r\nb\r\n9", "unix": "a\nb\n9", "mixed": "a\nb\n9", "single": "a\nb\n9"}
    assert result.optimized_artifact == expected
    seed = {"dos": "a\r\n1", "single": "1"}
    assert kept("single", new, seed=seed) == expected["dos"]
    assert kept("single", new, seed={"single": "1"}) == new


def test_a_bare_object_is_read_where_the_artifact_is_one():
    """Without marks and without a fence; what is talked around it leaves no doubt either."""
    result = optimize_anything(
        '{"temperature": 1, "stop": []}',
        lambda artifact: json.loads(artifact)["temperature"],
        objective="Raise it.",
        reflection_lm=lambda _prompt: '{"temperature": 9, "stop": []}',
        max_evals=2,
    )
    assert result.score == 9


@pytest.mark.parametrize(
    "reply",
    [
        "I cannot help with that.",
        "```\n\n```",
        "<new_text>\n(the whole new text)\n</new_text>",
        "<new_text>\n</new_text>",
        "One way:\n```\n8\n```\nAnother:\n```\n9\n```",
        "```python\nprint(1)\n```\n and then\n\n```json\n[1]\n```",
    ],
)
def test_a_reply_that_may_mean_several_things_or_none_is_asked_about(reply):
    """Refusals, empty blocks, our form repeated, several fences: no evaluation is paid for them."""
    result = optimize_anything(
        "1", digits, objective="Raise it.", reflection_lm=lambda _prompt: reply, max_evals=3
    )
    assert result.tally.metric_calls == 1
    assert result.optimized_artifact == "1"


class TestCode:
    """`kind="code"`: the program is wanted, and the talk around it is not."""

    SEED = "def f():\n    return 1"
    BETTER = "def f():\n    return 9"

    def result(self, reply, max_evals):
        return optimize_anything(
            self.SEED,
            digits,
            kind="code",
            objective="Raise it.",
            reflection_lm=lambda _prompt: reply,
            max_evals=max_evals,
        )

    @pytest.mark.parametrize(
        "reply",
        [
            "As it is:\n```python\n{seed}\n```\nBetter:\n```python\n{}\n```\nIt returns more.",
            "```python\n{}\n```\nRun it so:\n```bash\npython f.py\n```",
            "```python\n{}\n```\nIt prints:\n```\n9\n```",
            "{}",
        ],
    )
    def test_the_only_program_is_taken(self, reply):
        """Also beside the current one, a command, what is printed, or all alone."""
        reply = reply.replace("{seed}", self.SEED).replace("{}", self.BETTER)
        assert self.result(reply, max_evals=2).optimized_artifact == self.BETTER

    def test_two_programs_are_asked_about(self):
        """Neither of them is guessed at."""
        reply = f"```python\n{self.BETTER}\n```\nor\n```python\n{self.BETTER} + 0\n```"
        assert self.result(reply, max_evals=3).tally.metric_calls == 1

    def test_the_model_is_told_that_it_is_code(self):
        """Of several texts, which of them are."""
        prompts = []

        def model(prompt):
            prompts.append(prompt)
            return "nothing"

        optimize_anything(
            {"program": self.SEED, "hint": "a hint"},
            lambda artifact: digits(artifact["program"]),
            kind={"program": "code"},
            objective="Raise it.",
            reflection_lm=model,
            max_evals=3,
        )
        assert "program is code" in prompts[0]
        assert "hint is code" not in prompts[0]

    @pytest.mark.parametrize(
        ("kind", "said"),
        [("prose", "kind"), ({"other": "code"}, "other"), ({"artifact": "x"}, "kind"), (3, "kind")],
    )
    def test_a_kind_that_there_is_not_is_refused(self, kind, said):
        """Before anything is called."""
        with pytest.raises((ValueError, TypeError), match=said):
            optimize_anything(
                "1", digits, kind=kind, objective="x", reflection_lm=lambda _: 1 / 0, max_evals=3
            )
