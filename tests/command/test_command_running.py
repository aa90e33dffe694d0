"""`run`, `plan` and `resume`: what they do, print and leave, and how they end."""

import json
import os
import queue
import re
import signal
from pathlib import Path

import dspy
import pytest
from config_folder import INSTRUCTION, OF_PROGRAMS, fill, reply, rows, scripted, served
from warm_python import COMMAND

import dspy_gepa
from dspy_gepa import GEPA, load_run, optimize_anything
from dspy_gepa.command.arguments import annotations_of, argument
from dspy_gepa.command.config_file import read_config
from dspy_gepa.command.main import main

KIND = "Please be so kind as to give the code.\n"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """A server of one's own wants none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="module")
def server():
    with scripted() as server:
        yield server


def said(capsys, *arguments):
    """The exit code, and what was printed to either side."""
    code = main([str(each) for each in arguments])
    return code, *capsys.readouterr()


def instruction_in(path):
    program = dspy.Predict("message -> code")
    program.load(path)
    return program.signature.instructions


def test_a_config_is_carried_out(tmp_path, capsys, server):
    """The program is saved, the run is kept beside the config, and both are named."""
    config = fill(tmp_path / "project", server.port, heldout="held.csv")
    code, out, _ = said(capsys, "run", config)
    assert code == 0
    assert instruction_in(tmp_path / "project" / "better.json") == INSTRUCTION
    assert "held-out examples" in out
    assert "better.json" in out
    assert "dspy-gepa show" in out
    assert load_run(tmp_path / "project" / "codes-run").result.returned == 1


def test_json_is_one_object_and_nothing_else(tmp_path, capfd, server):
    """What the user's own code prints, also beside Python, goes to the other side."""
    config = fill(tmp_path, server.port)
    noisy = "\nimport os\nprint('hello')\nos.write(1, b'hello too')\n"
    (tmp_path / "codes.py").write_text((tmp_path / "codes.py").read_text() + noisy)
    code = main(["run", str(config), "--json"])
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert code == 0
    assert told["improved"] is True
    assert told["texts"] == {"self": INSTRUCTION}
    assert told["spent"]["metric_calls"] <= 40
    assert told["saved"] == str(tmp_path / "better.json")
    assert "hello too" in err


def test_a_plan_asks_no_model(tmp_path, capsys, server):
    """It says what it costs at most, for people and for programs, and writes nothing."""
    config = fill(tmp_path, server.port, heldout=0.5)
    before, asked = sorted(tmp_path.iterdir()), len(server.requests)
    code, out, _ = said(capsys, "plan", config)
    assert code == 0
    assert "codes.py:program" in out
    assert "a proposal" in out
    code, out, _ = said(capsys, "plan", config, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["at_most"] == 40
    assert told["heldout"] == 6
    assert told["validation_examples"] == 3
    assert len(server.requests) == asked
    created = [each for each in tmp_path.iterdir() if each.name != "__pycache__"]
    assert sorted(created) == [each for each in before if each.name != "__pycache__"]


def test_a_second_run_of_the_same_config_pays_nothing(tmp_path, capsys, server):
    """It says that it had ended, and gives what came of it."""
    config = fill(tmp_path, server.port)
    assert said(capsys, "run", config)[0] == 0
    (tmp_path / "better.json").unlink()
    asked = len(server.requests)
    code, out, _ = said(capsys, "run", config)
    assert code == 0
    assert "had ended before" in out
    assert len(server.requests) == asked
    assert instruction_in(tmp_path / "better.json") == INSTRUCTION


def test_a_limit_before_anything_was_validated(tmp_path, capsys, server):
    """That nothing was saved is said, and why; so is why nothing was checked."""
    config = fill(tmp_path, server.port, heldout="held.csv", max_total_tokens=1)
    code, out, err = said(capsys, "run", config)
    assert code == 0
    assert "not saved   " in out
    assert "better.json was not written, because the run ended before" in out
    assert "give heldout=" not in out + err
    assert not (tmp_path / "better.json").exists()
    told = json.loads(said(capsys, "run", config, "--json")[1])
    assert told["saved"] is None
    assert "was not written, because" in told["not_saved"]
    assert told["check"]["sentence"].startswith("not checked: the run ended before")


def test_what_was_saved_before_is_not_saved_again(tmp_path, capsys, server):
    """And it is said that it is there; or that the config does not ask for it."""
    config = fill(tmp_path, server.port)
    assert json.loads(said(capsys, "run", config, "--json")[1])["not_saved"] is None
    assert "better.json was there" in said(capsys, "run", config)[1]
    config = fill(tmp_path, server.port, save=None)
    told = json.loads(said(capsys, "run", config, "--json")[1])
    assert told["not_saved"] == "the config has no save"


def test_the_kept_config_names_the_variable_of_a_key(tmp_path, capsys, server, monkeypatch):
    """The variable's name is no secret; the key that it holds is not there."""
    monkeypatch.setenv("MY_LOCAL_KEY", "sk-local-0123456789abc")
    lm = {**served(server.port), "api_key_env": "MY_LOCAL_KEY"}
    said(capsys, "run", fill(tmp_path, server.port, lm=lm, max_metric_calls=4))
    kept = (tmp_path / "codes-run" / "config.json").read_text()
    assert json.loads(kept)["values"]["lm"] == lm
    assert "sk-local" not in kept


def test_a_run_at_its_end_is_not_resumed(tmp_path, capsys, server):
    """Exit code 3, one line, and no model is asked."""
    config = fill(tmp_path, server.port)
    said(capsys, "run", config)
    asked = len(server.requests)
    code, out, err = said(capsys, "resume", tmp_path / "codes-run")
    assert (code, out) == (3, "")
    assert "nothing was run" in err
    assert len(err.splitlines()) == 1
    assert len(server.requests) == asked


def test_a_larger_limit_in_the_file_is_used(tmp_path, capsys, server):
    """`resume` reads the config as it is now; one that changes nothing leaves nothing to do."""
    run = tmp_path / "codes-run"
    said(capsys, "run", fill(tmp_path, server.port, max_metric_calls=4))
    fill(tmp_path, server.port, max_metric_calls=4, save="other.json")
    assert said(capsys, "resume", run)[0] == 3
    fill(tmp_path, server.port, max_metric_calls=40)
    assert said(capsys, "resume", run)[0] == 0
    assert load_run(run).result.returned == 1
    assert instruction_in(tmp_path / "better.json") == INSTRUCTION


def test_a_run_that_broke_is_resumed(tmp_path, capsys):
    """Exit code 3 with the cause and what goes on; then it ends as if nothing had been."""
    with scripted(401) as refusing:
        code, out, err = said(capsys, "run", fill(tmp_path, refusing.port))
    assert (code, out) == (3, "")
    assert "Traceback" not in err
    assert f"resume {tmp_path / 'codes-run'}" in err
    with scripted() as server:
        fill(tmp_path, server.port)
        assert said(capsys, "resume", tmp_path / "codes-run")[0] == 0
    assert instruction_in(tmp_path / "better.json") == INSTRUCTION


def test_a_project_may_move_and_lose_its_config(tmp_path, capsys):
    """The run knows where its config stood from itself, and the config as it was."""
    with scripted() as server:
        config = fill(tmp_path / "old", server.port, max_metric_calls=4)
        assert said(capsys, "run", config)[0] == 0
        (tmp_path / "old").rename(tmp_path / "new")
        fill(tmp_path / "new", server.port)
        assert said(capsys, "resume", tmp_path / "new" / "codes-run")[0] == 0
        (tmp_path / "new" / "codes.json").unlink()
        run = tmp_path / "new" / "codes-run"
        (run / "outcome.json").unlink()
        code, _, err = said(capsys, "resume", run)
    assert "is gone" in err
    assert code == 3


def test_a_run_of_code_is_refused(tmp_path, capsys, server):
    """With the call that carries it on."""
    said(capsys, "run", fill(tmp_path, server.port))
    (tmp_path / "codes-run" / "config.json").unlink()
    code, _, err = said(capsys, "resume", tmp_path / "codes-run")
    assert code == 2
    assert "GEPA(..., log_dir=" in err


def test_a_changed_program_is_refused(tmp_path, capsys, server):
    """What differs is listed; nothing is paid for."""
    said(capsys, "run", fill(tmp_path, server.port, max_metric_calls=4))
    asked = len(server.requests)
    fill(tmp_path, server.port, seed=5)
    code, _, err = said(capsys, "resume", tmp_path / "codes-run")
    assert code == 2
    assert "seed" in err
    assert len(server.requests) == asked


def test_a_text_is_improved_by_a_config(tmp_path, capsys):
    """From a file, by an evaluator; the best text is saved as a file."""
    with scripted(text=lambda _: "<new_text>\nAdd.\n</new_text>") as server:
        config = fill(
            tmp_path,
            artifact="prompt.txt",
            evaluator="codes.py:shortest",
            objective="Shorten it.",
            reflection_lm=served(server.port),
            max_evals=3,
            save="best.txt",
            **dict.fromkeys(OF_PROGRAMS),
        )
        code, out, _ = said(capsys, "plan", config, "--json")
        assert code == 0
        assert json.loads(out)["at_most"] == 3
        assert server.requests == []
        assert said(capsys, "run", config)[0] == 0
        assert said(capsys, "resume", tmp_path / "codes-run")[0] == 3
        assert said(capsys, "show", tmp_path / "codes-run")[0] == 0
    assert (tmp_path / "best.txt").read_text().strip() == "Add."


@pytest.mark.parametrize(
    "settings",
    [
        {"program": "codes.py:made", "metric": "dspy_gepa.metrics:ExactMatch"},
        {"program": "codes:program", "metric": "codes:metric", "log_dir": False},
        {"trainset": rows(6), "valset": None},
        {"trainset": {"file": "train.jsonl", "inputs": ["message"]}, "inputs": "message"},
        {"seed_instructions": {"self": {"file": "prompt.txt"}}},
        {"perfect_score": "none", "skip_perfect_score": False},
        {"references": ["prompt.txt"], "invariants": ["codes.py:keeps"], "must_pass": rows(1)},
        {"lm": None, "task_model": served(9), "prompt_model": "openai/n"},
        {"teacher": ["codes.py:program", "codes.py:made"]},
        {"auto": "none", "heldout": "none", "valset": "none", "prompt_model": "none"},
        {"log_dir": "none", "save": "none", "executor": "none"},
        {"objectives": ["quality:strict", "cost"], "constraints": ["tone:polite"]},
    ],
)
def test_what_a_config_may_say(tmp_path, capsys, settings):
    """Makers, classes, modules, examples within it, texts in files, None, lists of functions."""
    code, out, err = said(capsys, "plan", fill(tmp_path, **settings))
    assert (code, err) == (0, "")
    assert "a proposal" in out


@pytest.mark.parametrize(
    ("name", "written", "taken"),
    [
        ("constraints", [{"file": "prompt.txt"}, "a:b"], [KIND, "a:b"]),
        ("constraints", {"file": "prompt.txt"}, KIND),
        ("frozen", {"self": [{"file": "prompt.txt"}]}, {"self": [KIND]}),
        ("references", {"a": {"file": "prompt.txt"}, "b": "b"}, {"a": KIND, "b": "b"}),
        ("references", {"file": "prompt.txt"}, "{}/prompt.txt"),
        ("references", [{"file": "prompt.txt"}, "b.md"], ["{}/prompt.txt", "{}/b.md"]),
        ("artifact", {"a": {"file": "prompt.txt"}, "b": "c:d"}, {"a": KIND, "b": "c:d"}),
    ],
)
def test_a_text_may_stand_in_a_file(tmp_path, name, written, taken):
    """Alone, in a list or under a name; of a reference, the file is what is wanted."""
    config = read_config(fill(tmp_path, **{name: written}), tmp_path)
    annotation = annotations_of(GEPA.__init__, optimize_anything)[name]
    found = argument(config, name, annotation, of_program=True)
    assert json.dumps(found) == json.dumps(taken).replace("{}", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "written", "taken"),
    [
        ("artifact", "kept.py:pages", {"file": "prompt.txt"}),
        ("teacher_settings", "kept.py:pages", {"file": "prompt.txt"}),
        ("reflection_template", {"file": "kept.txt"}, "kept.py:pages"),
        ("artifact", {"file": "kept.txt"}, "kept.py:pages"),
    ],
)
def test_what_was_found_names_nothing_more(tmp_path, name, written, taken):
    """Neither what code holds nor what stands in a file, whatever it looks like."""
    (tmp_path / "kept.py").write_text("pages = {'file': 'prompt.txt'}\n")
    (tmp_path / "kept.txt").write_text("kept.py:pages")
    config = read_config(fill(tmp_path, **{name: written}), tmp_path)
    annotation = annotations_of(GEPA.__init__, optimize_anything)[name]
    assert argument(config, name, annotation, of_program=True) == taken


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path, warm_python, presses):
    """Exit code 130, and the last line is the command that goes on; it does, without an answer
    paid twice, and in another folder."""
    children = queue.SimpleQueue()

    def reply_and_press(request):
        if any(each is request for each in server.requests[7:8]):  # also of several at once
            pid = children.get()
            for _ in range(presses):
                os.kill(pid, signal.SIGINT)
        return reply(request)

    with scripted(text=reply_and_press) as server:
        fill(tmp_path, server.port, log_dir="a run")
        running = warm_python.begin(COMMAND, "run", "codes.json", folder=tmp_path)
        children.put(running.pid)
        done = running.wait()
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1].endswith("to go on: dspy-gepa resume 'a run'")
        assert "Traceback" not in done.stderr
        again = ("resume", tmp_path / "a run", "--json")
        done = warm_python.run(COMMAND, *again, folder=tmp_path.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == {"self": INSTRUCTION}
    assert instruction_in(tmp_path / "better.json") == INSTRUCTION


def test_the_configs_of_the_guide_work(tmp_path, capsys, monkeypatch):
    """Each block of TOML can be planned, given the files that it names."""
    guide = Path(dspy_gepa.__file__).with_name("README.md").read_text("utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    whole, model, artifact = blocks
    alone = re.sub(r"^reflection_lm = .*\n", "", whole, flags=re.MULTILINE)
    monkeypatch.setenv("TEAM_KEY", "none")
    fill(tmp_path)
    (tmp_path / "labels.py").write_text((tmp_path / "codes.py").read_text())
    (tmp_path / "scoring.py").write_text("def score(text):\n    return -float(len(text))\n")
    (tmp_path / "valid.csv").write_text("message,code\na,b\nc,d\ne,f\ng,h\ni,j\n")
    for name in ("style.md", "prompt.md"):
        (tmp_path / name).write_text("Be short.\n")
    for block in (whole, f"{alone}\n{model}", artifact):
        (tmp_path / "guide.toml").write_text(block)
        code, out, err = said(capsys, "plan", tmp_path / "guide.toml")
        assert (code, err) == (0, "")
        assert "a proposal" in out
