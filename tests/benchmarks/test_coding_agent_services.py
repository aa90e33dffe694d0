"""Search and apply of the coding agent: our own, and the hosted ones against a fake on loopback."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import dspy
import pytest
from model_server import loopback

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coding_agent.applying import EditRefused, MergeApply, MorphApply, block
from coding_agent.searching import PatternSearch, SearchFailed, WarpGrep

# DSPy 3.4 wants tool results as objects of its own, which 3.3 does not have.
pytestmark = pytest.mark.filterwarnings("ignore:Passing OpenAI-style message dictionaries")

CODE = (
    "import os\n\n\ndef one():\n    a = 1\n    return a\n\n\ndef two():\n    a = 2\n    return a\n"
)
MARK = "# ... existing code ..."


@contextmanager
def service(*messages):
    """A server that answers with these messages in turn; yields address and requests."""
    requests, answers = [], list(messages)

    def respond(request):
        requests.append(request)
        message = {"role": "assistant", "content": None, **answers.pop(0)}
        ending = "tool_calls" if "tool_calls" in message else "stop"
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        choice = {"index": 0, "message": message, "finish_reason": ending}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        return 200, {**body, "choices": [choice], "usage": usage}

    with loopback(respond) as port:
        yield f"http://127.0.0.1:{port}/v1", requests


def called(*calls):
    """A message that calls these tools."""
    return {
        "tool_calls": [
            {
                "id": f"call-{name}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for name, arguments in calls
        ]
    }


@pytest.fixture
def root(tmp_path):
    """A folder with one package."""
    (tmp_path / "shop" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "shop" / "code.py").write_text(CODE, "utf-8")
    (tmp_path / "shop" / "deep" / "deeper" / "more.py").write_text("x = 1\n", "utf-8")
    return tmp_path.resolve()


def test_our_search_says_file_line_and_text(root):
    """By regular expression; what is none is taken literally; what is left out is counted."""
    search = PatternSearch().search
    assert search(root, r"def \w+") == "shop/code.py:4: def one():\nshop/code.py:9: def two():"
    assert search(root, "one(") == "shop/code.py:4: def one():"
    assert search(root, "nothing here").startswith("No line matches 'nothing here'.")
    assert search(root, " ").startswith("The query is empty.")
    few = PatternSearch(most_hits=1).search(root, "return")
    assert few.endswith("... and 1 more lines; a longer query finds fewer.")


def test_warpgrep_in_its_wire_format(root):
    """Its question has paths to depth 2; its tools are carried out here, and never sent."""
    read = {"path": str(root / "shop/code.py"), "lines": "1-1,9-10"}
    calls = (
        ("grep_search", {"pattern": "def", "path": "shop", "glob": "*.py"}),
        ("read", read),
        ("list_directory", {"path": "."}),
        ("glob", {"pattern": "*.py"}),
        ("read", {"path": "/etc/passwd"}),
        ("dance", {}),
    )
    end = called(("finish", {"files": "shop/code.py:4-6\nshop/deep/deeper/more.py:*\nno.py:1-2"}))
    with service(called(*calls), end) as (address, requests), dspy.track_usage() as usage:
        found = WarpGrep.at(address, "key").search(root, "where is one")
    assert found == (
        "shop/code.py\n4|def one():\n5|    a = 1\n6|    return a\n\n"
        "shop/deep/deeper/more.py\n1|x = 1\n\nno.py: there is no such file."
    )
    first, second = requests
    assert first["model"] == "morph-warp-grep-v2.1"
    assert "tools" not in first
    assert first["temperature"] == 0.0
    paths = [root, root / "shop", root / "shop/code.py", root / "shop/deep"]
    assert first["messages"][0]["content"] == (
        "<repo_structure>\n" + "\n".join(map(str, paths)) + "\n</repo_structure>\n\n"
        "<search_string>\nwhere is one\n</search_string>"
    )
    _, said, *results, left = second["messages"]
    assert [each["function"]["name"] for each in said["tool_calls"]] == [name for name, _ in calls]
    assert [each["role"] for each in results] == ["tool"] * 6
    assert [each["tool_call_id"] for each in results] == [f"call-{name}" for name, _ in calls]
    contents = [each["content"] for each in results]
    assert contents[0] == "shop/code.py:4: def one():\nshop/code.py:9: def two():"
    assert contents[1] == "1|import os\n9|def two():\n10|    a = 2"
    assert str(root / "shop/deep") in contents[2].splitlines()
    assert contents[3].splitlines() == [
        str(root / "shop/code.py"),
        str(root / "shop/deep/deeper/more.py"),
    ]
    assert contents[4:] == ["There is no such path in the repository.", "There is no tool dance."]
    assert left == {"role": "user", "content": "You have 5 of 6 turns left."}
    (entries,) = usage.usage_data.values()
    assert sum(each["total_tokens"] for each in entries) == 14


def test_warpgrep_that_comes_to_no_end(root):
    """Words in place of tools, and six turns without an end, are an error that says so."""
    with (
        service({"content": "I think"}) as (address, _),
        pytest.raises(SearchFailed, match="called no tool but said: 'I think'"),
    ):
        WarpGrep.at(address, "key").search(root, "x")
    turn = called(("glob", {"pattern": "*"}))
    with (
        service(*[turn] * 6) as (address, requests),
        pytest.raises(SearchFailed, match="no place within 6 turns"),
    ):
        WarpGrep.at(address, "key").search(root, "x")
    assert len(requests) == 6


def test_morph_in_its_wire_format():
    """One message with a plain string; the reply is the file, which has to be Python still."""
    merged = CODE.replace("a = 2", "a = 3")
    broken = "def ("
    with service({"content": merged}, {"content": broken}, {"content": ""}) as (address, requests):
        apply = MorphApply.at(address, "key").apply
        assert apply(CODE, "I change two.", f"{MARK}\n    a = 3\n{MARK}") == merged
        with pytest.raises(EditRefused, match="is no Python"):
            apply(CODE, "I change two.", "a")
        with pytest.raises(EditRefused, match="gave back nothing"):
            apply(CODE, "I change two.", "a")
    first = requests[0]
    assert first["model"] == "morph-v3-fast"
    assert "tools" not in first
    assert first["messages"] == [
        {
            "role": "user",
            "content": (
                f"<instruction>I change two.</instruction>\n<code>{CODE}</code>\n"
                f"<update>{MARK}\n    a = 3\n{MARK}</update>"
            ),
        }
    ]


@pytest.mark.parametrize(
    ("update", "old", "new"),
    [
        (block("    a = 2", "    a = 3"), "a = 2", "a = 3"),
        (block("a = 2", "a = 3"), "a = 2", "a = 3"),
        (block("import os\n", ""), "import os\n\n", "\n"),
        (
            "Here:\n" + block("def one():", "def uno():") + "\n" + block("a = 2", "a = 3"),
            None,
            None,
        ),
        (f"{MARK}\ndef two():\n    a = 3\n    return a", "a = 2", "a = 3"),
        (f"{MARK}\ndef one():\n    a = 7\n    return a\n{MARK}", "a = 1", "a = 7"),
        (f"import sys\n\n\ndef one():\n{MARK}", "import os", "import sys"),
        (f"{MARK}\ndef one():\n    return a\n{MARK}", "    a = 1\n", ""),
        (
            f"{MARK}\n    a = 1\n    b = 2\n    return a\n{MARK}",
            "    a = 1\n",
            "    a = 1\n    b = 2\n",
        ),
    ],
)
def test_our_merge(update, old, new):
    """Blocks and marks put what is meant where it belongs, and leave the rest to the byte."""
    wanted = CODE.replace("one", "uno").replace("a = 2", "a = 3")
    if old is not None:
        wanted = CODE.replace(old, new)
    assert MergeApply().apply(CODE, "", update) == wanted


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (block("    return a", "    return b"), "occurs 2 times"),
        (block("a = 9", "a = 3"), "does not occur in the file. Copy it"),
        (block("\ta = 1\nx", "a"), "Its first line is there with other spaces"),
        (block("", "a"), "searches for nothing"),
        ("    a = 3", "neither a block"),
        (f"{MARK}\n    a = 9\n    return a\n{MARK}", "begins with 'a = 9', which is not in the"),
        (f"{MARK}\n    return a\n    print(a)\n{MARK}", "begins with 'return a', which is in 2"),
        (f"{MARK}\ndef one():\n    a = 7\n{MARK}", "ends with 'a = 7', which is not in the file"),
        (f"{MARK}\ndef one():\n    a = 7\n    return a\n{MARK}\ndef one():\n{MARK}", "begins with"),
    ],
)
def test_what_our_merge_refuses(update, reason):
    """What is not sure is refused with the reason; nothing is guessed."""
    with pytest.raises(EditRefused, match=reason):
        MergeApply().apply(CODE, "", update)


@pytest.mark.parametrize(
    ("original", "update", "reason"),
    [
        ("i += 1\ni += 1\n", block("i += 1", "i += 2"), "occurs 2 times"),
        ("x\n\nx\n\nx\n", block("x\n\nx", "y"), "occurs 2 times"),
        ("top = 10\n", block("p = 1", "p = 2"), "a part of a longer name"),
        ("if x:\n    go()\n", block("go()", "go()\nstop()"), "leaves out the spaces"),
        ("A\n=====\nb\n", block("A\n=====\nb", "A\n=====\nc"), "which line of ======= divides"),
        ("a\nb\n", block("a", "c") + "\n<<<<<<< SEARCH\nb\n=======\nd", "does not go from"),
        ("a\nb\n", "<<<<<<< SEARCH\na\n=======\nc\n" + block("b", "d"), "does not go from"),
        ("a\nb\n", "<<<<<<< SEARCH\na\n>>>>>>> REPLACE", "which line of ======= divides"),
        (
            CODE,
            block("def one():\n    a = 1", f"def one():\n    {MARK}"),
            "would stand in the file",
        ),
        (CODE, f"{MARK}\ndef one():\n    b()  {MARK}\n    return a\n{MARK}", "would stand in the"),
        (CODE, block("a = 1", "a = 3") + f"\n{MARK}\n    a = 4\n    return a", "Use one form"),
        (CODE, f"def one():\n    b = 1\n    a = 1\n{MARK}", "no line with `.*` before the changed"),
        (
            CODE,
            f"{MARK}\ndef one():\n    a = 7\n    return b",
            "no line with `.*` after the changed",
        ),
    ],
)
def test_an_update_from_which_something_would_be_lost_is_refused(original, update, reason):
    """Equal lines, parts of names, forgotten marks and blocks without an end are not sure."""
    with pytest.raises(EditRefused, match=reason):
        MergeApply().apply(original, "", update)


@pytest.mark.parametrize(
    ("original", "wanted"),
    [
        ("a\r\nb\r\nc\r\n", "a\r\nb\r\nd\r\nc\r\n"),
        ("\x0ca\u2028\nb\nc\n", "\x0ca\u2028\nb\nd\nc\n"),
        ("s = '... existing code ...'\nb\nc", "s = '... existing code ...'\nb\nd\nc"),
    ],
)
@pytest.mark.parametrize("update", [f"{MARK}\nb\nd\nc\n{MARK}", block("b\nc", "b\nd\nc")])
def test_what_ends_a_line_stays(original, wanted, update):
    """Line ends of Windows, characters that only look like ends, and marks that are code."""
    assert MergeApply().apply(original, "", update) == wanted


def test_an_empty_file_takes_any_text():
    """There is nothing that could be lost."""
    assert MergeApply().apply("", "", "x = 1\n") == "x = 1\n"
