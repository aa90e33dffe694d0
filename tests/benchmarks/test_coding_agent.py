"""The coding agent mends a package of three files by script, and is told what it did wrong."""

import importlib
import json
import re
import socket
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import dspy
import pytest
from scripted_engine import answer, new_texts, scripted_lm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coding_agent import make_tasks, run
from coding_agent.agent import CodingAgent, FixedFlow
from coding_agent.applying import MergeApply, block
from coding_agent.changes import changes_in, function_at, functions_in
from coding_agent.judging import metric
from coding_agent.model_choice import chosen_models
from coding_agent.packages import (
    TASKS,
    Bug,
    PackageMissing,
    broken_copy,
    bugs_in,
    example,
    fails_anyway,
    folder_of,
)
from coding_agent.searching import PatternSearch
from coding_agent.suite import Timing, run_suite
from coding_agent.workspace import Workspace, run_as_given
from mailbox_lm import Usage

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs"),
    pytest.mark.skipif(sys.platform == "win32", reason="the sandbox needs a POSIX system"),
]

FILES = {
    "__init__.py": '"""A shop."""\n',
    "cart.py": (
        "def total(prices):\n"
        "    amount = 0\n"
        "    for price in prices:\n"
        "        amount = amount + price\n"
        "    return amount\n"
        "\n\n"
        "def is_free(amount):\n"
        "    return amount >= 50\n"
    ),
    "words.py": (
        "def shout(text):\n    return text.upper()\n\n\ndef first(a, b):\n    return min(a, b)\n"
    ),
    "tests/__init__.py": "",
    "tests/test_shop.py": (
        "from small_shop import cart, words\n\n\n"
        "def test_total():\n    assert cart.total([1, 2]) == 3\n\n\n"
        "def test_free():\n    assert cart.is_free(50)\n    assert not cart.is_free(49)\n\n\n"
        "def test_shout():\n    assert words.shout('a') == 'A'\n"
    ),
}
FREE = "small_shop.tests.test_shop::test_free"
MENDED = block("    return amount > 50", "    return amount >= 50")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package of three files with its tests, which can be imported."""
    for name, text in FILES.items():
        path = tmp_path / "small_shop" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    fails_anyway.cache_clear()
    run_as_given.cache_clear()
    return tmp_path / "small_shop"


def bug_of(split="train", *, kind="comparison", file="small_shop/cart.py", failing=(FREE,)):
    """A bug of the shop."""
    source = FILES[file.partition("/")[2]]
    change = next(each for each in changes_in(source) if each.kind == kind)
    place = (file, change.function, change.line, change.column, kind)
    return Bug("small_shop", "", split, *place, failing)


def used(tool, **arguments):
    """A step of the agent."""
    return answer(next_thought="so", next_tool_name=tool, next_tool_args=json.dumps(arguments))


def scripted(*steps):
    """A model that takes these steps in turn, and then finishes."""

    def reply(prompt):
        # The system message names the first observation only as a pattern of fields.
        taken = len(re.findall(r"\[\[ ## tool_name_\d+ ## \]\]", prompt))
        return [*steps, *[used("finish")] * 9][taken]

    return scripted_lm(reply)


def judged(*steps, bug=None, agent=None):
    """What the agent did by these steps, and what is said of it."""
    gold = example(bug or bug_of())
    with dspy.context(lm=scripted(*steps), adapter=dspy.ChatAdapter()):
        prediction = (agent or CodingAgent())(**gold.inputs())
    return prediction, metric(gold, prediction)


def edit(update, file="small_shop/cart.py"):
    return used("edit_file", path=file, instruction="I mend it.", update=update)


def test_every_change_can_be_made_and_undone():
    """A source with a change differs in that place alone; undoing gives it back to the byte."""
    for name, source in {**FILES, "é.py": "def ö(ä):\n    return 'é' if ä < 1 else 2\n"}.items():
        for change in changes_in(source):
            made = change.made(source)
            assert made != source, name
            assert change.undone(made) == source
    change = next(each for each in changes_in(FILES["cart.py"]) if each.kind == "comparison")
    with pytest.raises(ValueError, match="Line 9 does not hold '>='"):
        change.made(FILES["words.py"] * 9)


@pytest.mark.parametrize(
    ("body", "kind", "changed"),
    [
        ("return a < b", "comparison", "return a <= b"),
        ("return a not in b", "comparison", "return a in b"),
        ("return (a) - (b)", "arithmetic", "return (a) + (b)"),
        ("return a and b", "boolean", "return a or b"),
        ("return a[0]", "constant", "return a[1]"),
        ("x = True", "constant", "x = False"),
        ("return 1 if a else 2", "negated condition", "return 1 if not (a) else 2"),
        ("return f(a, *b, c)", "swapped arguments", None),
        ("return f(a, b, c)", "swapped arguments", "return f(b, a, c)"),
        ("return a", "returned None", "return None"),
        ("x: a < b = c", "comparison", None),
        ("return f'{a < b}'", "comparison", None),
    ],
)
def test_the_kinds_of_change(body, kind, changed):
    """Each kind changes what it names; strings with values and annotations are left alone."""
    source = f"def g(a, b, c):\n    {body}\n"
    made = [each.made(source) for each in changes_in(source) if each.kind == kind]
    assert made == ([] if changed is None else [f"def g(a, b, c):\n    {changed}\n"])


def test_a_function_is_named_with_what_is_around_it():
    """The innermost function that holds a line; none in a file that cannot be parsed."""
    source = "class A:\n    @property\n    def f(self):\n        def g():\n            return 1\n"
    assert [function_at(source, line) for line in (1, 2, 5)] == ["", "A.f", "A.f.g"]
    assert function_at("def (", 1) == ""


def test_lines_are_counted_as_tracebacks_count_them(shop, tmp_path):
    """Search, reading, and what was changed name the line that Python names."""
    odd = "def f():\n    \x0c\n    return '\u2028', 1\n"
    root = tmp_path / "root"
    root.mkdir()
    (root / "odd.py").write_text(odd, "utf-8")
    workspace = Workspace(root.resolve(), bug_of(), PatternSearch(), MergeApply(), Timing())
    assert functions_in(odd) == {"f": (1, 3)}
    assert workspace.search_code("return") == "odd.py:3: return '\u2028', 1"
    assert workspace.read_file("odd.py", 3) == "3|     return '\u2028', 1"
    workspace.edit_file("odd.py", "I mend it.", block(", 1", ", 2"))
    assert [each["line"] for each in workspace.account()["changed_lines"]] == [3]


def test_an_agent_that_mends_the_bug_scores_one(shop):
    """The prediction says what was read, edited and run; the package itself is untouched."""
    prediction, said = judged(
        used("run_tests"),
        used("search_code", query="def is_free"),
        used("read_file", path="small_shop/cart.py"),
        edit(MENDED),
        used("run_tests"),
    )
    assert (said.score, said.feedback) == (1.0, "Solved in 6 steps.")
    assert said.objective_scores == {"steps": 6.0}
    assert prediction.files_read == ["small_shop/cart.py"]
    changed = [{"file": "small_shop/cart.py", "line": 9, "function": "is_free"}]
    assert (prediction.changed_lines, prediction.test_runs) == (changed, 2)
    assert (shop / "cart.py").read_text("utf-8") == FILES["cart.py"]


FAULT = "small_shop/cart.py, line 9, in `is_free`, where `>` stands and `>=` is right (comparison)"


@pytest.mark.parametrize(
    ("steps", "remarks"),
    [
        ([], ["Missed a file: the fault is in " + FAULT + ". The agent never opened it. Nothing"]),
        (
            [
                used("read_file", path="small_shop/cart.py"),
                edit(block("upper", "lower"), "small_shop/words.py"),
            ],
            ["The agent read it but did not edit it. Edited instead: small_shop/words.py."],
        ),
        (
            [edit(block("    amount = 0", "    amount = 1"))],
            [
                "Applied the edit at the wrong place: line 2 in `total`; the fault is in " + FAULT,
                "Broke 1 tests that passed before: small_shop.tests.test_shop::test_total",
            ],
        ),
        (
            [edit(block("amount", "sum")), used("run_tests")],
            ["An edit was refused: The text to search for occurs 6 times in the file"],
        ),
        (
            [edit("return amount >= 50")],
            ["An edit was refused: The update has neither a block"],
        ),
        (
            [edit(block("amount > 50", "amount >"))],
            ["An edit was refused: With the edit, small_shop/cart.py is no Python any more"],
        ),
        (
            [edit(MENDED, "small_shop/tests/test_shop.py")],
            ["An edit was refused: small_shop/tests/test_shop.py belongs to the tests"],
        ),
        (
            [edit(MENDED, "../elsewhere.py")],
            ["An edit was refused: ../elsewhere.py lies outside of the package."],
        ),
        (
            [edit(block("amount > 50", "amount > 51"))],
            [f"1 tests still fail: {FREE}. {FREE} ends with:\n", "assert cart.is_free(50)"],
        ),
        ([edit(block("amount > 50", "amount > 51"))], ["The agent never ran the tests."]),
    ],
)
def test_what_went_wrong_is_said(shop, steps, remarks):
    """Each thing that an agent does wrong has its sentence, with the bug beside it."""
    _, said = judged(*steps)
    assert said.score == 0.0
    for each in remarks:
        assert each in said.feedback
    order = ["Missed a file", "Applied the edit", "An edit was", "Broke", "still fail", "never ran"]
    places = [said.feedback.find(each) for each in order if each in said.feedback]
    assert places == sorted(places)


def test_a_bug_that_is_mended_without_tests_is_told_so(shop):
    """The score is 1, and what could have gone wrong is said."""
    _, said = judged(edit(MENDED))
    assert said.score == 1.0
    assert said.feedback == "Solved in 2 steps.\nThe agent never ran the tests."


def test_a_test_that_fails_anyway_does_not_count(shop):
    """What fails without the bug is neither held against the agent nor shown to it."""
    path = shop / "tests/test_shop.py"
    path.write_text(path.read_text("utf-8") + "\n\ndef test_odd():\n    assert False\n", "utf-8")
    prediction, said = judged(edit(MENDED), used("run_tests"))
    assert said.score == 1.0
    assert prediction.failing == {}


def test_the_fixed_flow_tries_again_with_what_came_of_it(shop):
    """A wrong line is undone; the model hears of it, and the second round mends the bug."""
    seen = []

    def reply(prompt):
        seen.append(prompt)
        if "[[ ## function ## ]]" in prompt:
            return answer(function="is_free")
        new = "return amount >= 50" if "amount < 50" in prompt else "return amount < 50"
        return answer(old_line="return amount > 50", new_line=new)

    gold = example(bug_of())
    with dspy.context(lm=scripted_lm(reply), adapter=dspy.ChatAdapter()):
        prediction = FixedFlow()(**gold.inputs())
    assert metric(gold, prediction).score == 1.0
    assert (prediction.steps, prediction.test_runs) == (4, 3)
    assert "small_shop/cart.py: is_free" in seen[0]
    assert "tests fail" in seen[2]


@pytest.mark.parametrize(
    ("function", "old", "reason"),
    [
        ("nothing", "", "There is no function 'nothing' in the list."),
        ("is_free", "return amount", "does not occur"),
    ],
)
def test_the_fixed_flow_says_what_could_not_be_done(shop, function, old, reason):
    """An unknown function and a line that is not there end after three rounds, with the reason."""

    def reply(prompt):
        asked = "[[ ## function ## ]]" in prompt
        return answer(function=function) if asked else answer(old_line=old + " x", new_line="y")

    gold = example(bug_of())
    with dspy.context(lm=scripted_lm(reply), adapter=dspy.ChatAdapter()):
        prediction = FixedFlow()(**gold.inputs())
    assert reason in prediction.summary
    assert metric(gold, prediction).score == 0.0


def test_an_endless_test_is_stopped(shop):
    """Endless work ends at the limit of CPU time, endless waiting at that of the clock."""
    tests = shop / "tests/test_shop.py"
    for body, timing in (
        ("while True: pass", Timing(cpu_seconds=2)),
        ("import time; time.sleep(10**6)", Timing(timeout_seconds=4)),
    ):
        tests.write_text(f"def test_endless():\n    {body}\n", "utf-8")
        run_of_it = run_suite(shop.parent, "small_shop", timing)
        assert run_of_it.problem.startswith("The tests ")
        assert run_of_it.failing == {}


def test_what_a_test_begins_ends_with_it(shop, tmp_path):
    """A process with a session of its own does not outlive them, where the system can do that."""
    if not _has_namespaces():
        pytest.skip("this system lets no process have namespaces of its own")
    child = "import time, pathlib\nwhile 1: pathlib.Path(%r).touch(); time.sleep(.05)"
    alive = tmp_path / "alive"
    command = [sys.executable, "-c", child % str(alive)]
    (shop / "tests/test_shop.py").write_text(
        "import subprocess, time, pathlib\n\ndef test_it():\n"
        f"    subprocess.Popen({command!r}, start_new_session=True)\n"
        f"    while not pathlib.Path({str(alive)!r}).exists(): time.sleep(.05)\n",
        "utf-8",
    )
    assert not run_suite(shop.parent, "small_shop").problem
    alive.unlink()
    time.sleep(0.3)
    assert not alive.exists()


def test_tests_have_no_network(shop):
    """A test cannot reach a port of this machine, where the system can do that."""
    if not _has_namespaces():
        pytest.skip("this system lets no process have namespaces of its own")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (shop / "tests/test_shop.py").write_text(
            "import socket\n\ndef test_it():\n"
            f"    socket.create_connection(('127.0.0.1', {port}), 5)\n",
            "utf-8",
        )
        failing = run_suite(shop.parent, "small_shop").failing
    assert "OSError" in "".join(failing.values())


def _has_namespaces():
    import shutil
    import subprocess

    command = shutil.which("unshare")
    return bool(command) and subprocess.run([command, "-rn", "true"], check=False).returncode == 0


def test_the_maker_keeps_what_the_tests_notice(shop, tmp_path, capsys):
    """One change a function; those that no test notices are left out, and none is foreign code."""
    listed = make_tasks.listed("small_shop", 0, (1, 0, 1))
    assert [each["split"] for each in listed["changes"]] == ["train", "test"]
    assert len({each["function"] for each in listed["changes"]}) == 2
    assert "first" not in {each["function"] for each in listed["changes"]}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"packages": [listed]}), "utf-8")
    for bug in bugs_in(path):
        with broken_copy(bug) as root:
            assert tuple(sorted(run_suite(root, "small_shop").failing)) == bug.failing


def test_a_package_that_is_missing_is_told_with_what_to_do(shop):
    """Its name and version, and the command; a list of another source is refused as well."""
    with pytest.raises(PackageMissing, match=r"pip install no_such_package==1\.0 pytest"):
        folder_of("no_such_package", "1.0")
    with pytest.raises(PackageMissing, match="in version unknown, and the faults are those of 2"):
        folder_of("small_shop", "2")
    with pytest.raises(PackageMissing, match="another version"):
        example(replace(bug_of(), line=1))


LESSON = "Read cart.py, look for one wrong sign, and edit it."


def taught(prompt):
    """An agent that mends the bug as soon as its instruction has the lesson."""
    if "[[ ## next_tool_name ## ]]" not in prompt:
        return new_texts(prompt, f"{LESSON}\n\n{{tools}}")
    taken = len(re.findall(r"\[\[ ## tool_name_\d+ ## \]\]", prompt))
    if LESSON not in prompt or taken:
        return used("finish")
    return edit(block(*("return amount > 50", "return amount >= 50")))


def tasks_file(tmp_path):
    """The same bug in every split; of one validation example the search concludes nothing."""
    fields = [asdict(bug_of(split)) for split in ("train", *["validation"] * 4, "test")]
    for each in fields:
        del each["package"], each["version"]
    listed = {"package": "small_shop", "version": "", "changes": fields}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"seed": 0, "packages": [listed]}), "utf-8")
    return path


def command(tmp_path, *more):
    own = ["--train-package", "small_shop", "--test-packages", "small_shop"]
    files = {"--tasks": tasks_file(tmp_path), "--save": tmp_path / "saved.json"}
    files |= {"--json": tmp_path / "rows.json", "--log-dir": tmp_path / "log"}
    named = [str(each) for pair in files.items() for each in pair]
    return run.arguments_of(["--model", "m", "--reflection-model", "r", *own, *named, *more])


def test_the_command_tests_evolves_saves_and_goes_on(shop, tmp_path, capsys):
    """Both programs have a row; the lesson is in the saved file; a second start asks nothing."""
    lm, usage = scripted_lm(taught), Usage()
    lms = run.Chosen(lm, lm)
    record = run.carry_out(command(tmp_path, "--budget", "16"), lms, usage)
    assert {row["program"]: row["score"] for row in record.rows} == {"as given": 0, "evolved": 1}
    assert LESSON in (tmp_path / "saved.json").read_text("utf-8")
    run.tables(record)
    assert "evolved, small_shop" in capsys.readouterr().out
    asked = len(lm.engine.prompts)
    again = run.carry_out(command(tmp_path, "--budget", "16"), lms, usage)
    assert (again.rows, len(lm.engine.prompts)) == (record.rows, asked)
    with pytest.raises(SystemExit, match="other settings"):
        run.carry_out(command(tmp_path, "--budget", "17"), lms, usage)


def test_services_need_a_key(monkeypatch, tmp_path):
    """What is hosted says where its key goes, before anything is asked."""
    monkeypatch.delenv("MORPH_API_KEY", raising=False)
    with pytest.raises(SystemExit, match="morph is a service: put its key into MORPH_API_KEY"):
        run.program_of(command(tmp_path, "--apply", "morph"))


@pytest.mark.parametrize(("key", "sent"), [("secret", "secret"), (None, "none")])
def test_a_server_of_ones_own_is_sent_the_key_that_is_there(monkeypatch, key, sent):
    """As everywhere else it is that of OpenAI's client; where there is none, it needs none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with chosen_models("openai/m", "openai/m", Usage(), api_base="http://127.0.0.1:1/v1") as lms:
        assert [each.kwargs["api_key"] for each in lms] == [sent, sent]


def answering(folders, reply, until):
    """Threads that answer what lies in the folders."""

    def work(folder):
        while not until.is_set():
            for path in folder.glob("*.prompt"):
                if not path.with_suffix(".reply").exists():
                    part = path.with_suffix(".half")
                    part.write_text(reply(path.read_text("utf-8")), "utf-8")
                    part.rename(path.with_suffix(".reply"))
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(each,)) for each in folders]
    for each in threads:
        each.start()
    return threads


def test_mailboxes_share_the_prompts_and_keep_replies_for_the_next_process(tmp_path):
    """Prompts go where fewest wait; a prompt of an earlier process is answered once from there."""
    folders = [tmp_path / name for name in "ab"]
    name, until = "mailbox:" + ",".join(map(str, folders)), threading.Event()

    def count():
        return sorted(len(list(each.glob("*.prompt"))) for each in folders)

    with chosen_models(name, f"mailbox:{folders[0]}", Usage()) as lms:
        threads = answering(folders, str.upper, until)
        assert [lms.task("one")[0], lms.reflection("two")[0]] == ["ONE", "TWO"]
    assert count() == [0, 2]
    assert all((each / "over").exists() for each in folders)
    with chosen_models(name, name, Usage()) as lms:
        assert lms.task("two")[0] == "TWO"
        assert count() == [0, 2]
        assert lms.task("two")[0] == "TWO"
        assert count() == [0, 3]
    until.set()
    for each in threads:
        each.join()


def test_the_list_holds_positions_that_are_there():
    """Every bug of the list has its place in the installed packages, one a function and split."""
    bugs = bugs_in(TASKS)
    for package in {each.package for each in bugs}:
        pytest.importorskip(package, reason="pip install toolz==1.2.0 pyflakes==4.0.3")
    try:
        examples = [example(each) for each in bugs]
    except PackageMissing as missing:
        pytest.skip(str(missing))
    assert all(each.fault["right"] != each.fault["wrong"] for each in examples)
    places = [(each.file, each.function) for each in bugs]
    assert len(places) == len(set(places))
    assert all(1 <= len(each.failing) <= 6 for each in bugs)
    assert {each.split for each in bugs if each.package == "pyflakes"} == {"test"}
