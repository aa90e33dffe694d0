"""What a user gets wrong in a config: one line that says what to do, and no traceback."""

import json
import sys

import pytest
from config_folder import OF_PROGRAMS, fill

from dspy_gepa.command.main import main

NO_PROGRAM = dict.fromkeys(OF_PROGRAMS)
ARTIFACT = {**NO_PROGRAM, "artifact": "prompt.txt", "evaluator": "codes.py:shortest"}
MISTAKES = [
    # Names.
    ({"max_metric_cals": 3}, "'max_metric_calls'"),
    ({"model": "openai/m"}, "'model' is called 'lm' here"),
    ({"testset": "held.csv"}, "'testset' is called 'heldout' here"),
    ({"student": "codes.py:program"}, "'student' is called 'program' here"),
    ({"progam": "codes.py:program", "program": None}, "'program'"),
    ({"program": None}, "names neither"),
    ({"evaluator": "codes.py:shortest"}, "both a program and an artifact"),
    ({"metric": None}, 'metric = "file.py:metric"'),
    ({"trainset": None}, 'trainset = "train.jsonl"'),
    ({"lm": None}, 'lm = "openai/gpt-4.1-mini"'),
    ({"lm": "none", "task_model": "none"}, 'lm = "openai/gpt-4.1-mini"'),
    ({**ARTIFACT, "reflection_lm": "none"}, "no model that could write better texts"),
    ({**ARTIFACT, "reflection_lm": None}, "no model that could write better texts"),
    ({**ARTIFACT, "max_metric_calls": 3}, "'max_evals'"),
    # Keys.
    ({"api_key": "sk-1"}, "codes.json has api_key in it"),
    ({"wandb_api_key": "1"}, "codes.json has wandb_api_key in it"),
    ({"lm": {"model": "openai/m", "api_key": "sk-1"}}, "codes.json has lm.api_key in it"),
    ({"lm": {"model": "a/b", "extra_headers": {"Authorization": "x"}}}, "lm.extra_headers.Auth"),
    ({"lm": {"model": "openai/m", "api_key_env": "NO_SUCH_KEY"}}, "no variable NO_SUCH_KEY"),
    # Code.
    ({"program": "codes.py"}, '"module:name" or "file.py:name" is needed'),
    ({"program": "code.py:program"}, "Is codes.py meant?"),
    ({"program": "codess:program"}, "Is codes.py meant?"),
    ({"program": "codes.py:progam"}, "'program'"),
    ({"program": "codes.py:number"}, "is a int; a dspy.Module is needed"),
    ({"program": "signed.py:Codes"}, "Wrap it there: program = dspy.Predict(Codes)"),
    ({"program": "codes.py:shortest"}, "missing a required argument: 'text'. A dspy.Module is"),
    ({"program": "codes.py:keeps"}, "cannot make a program"),
    ({"program": "codes.py:broken"}, "RuntimeError: the database is away (codes.py, line"),
    (
        {"program": "wrong.py:program"},
        "NameError: name 'nothing' is not defined (wrong.py, line 1)",
    ),
    ({"program": "worse.py:program"}, "SyntaxError"),
    ({"program": "leaves.py:program"}, "it ended by SystemExit"),
    ({"program": "needs.py:program"}, "No module named 'no_such_package'"),
    ({"metric": "codes.py:number"}, "metric"),
    ({"invariants": ["codes.py:shortest"]}, "shortest"),
    # Data.
    ({"trainset": "trian.jsonl"}, "codes.json: trainset = 'trian.jsonl': "),
    ({"trainset": "trian.jsonl"}, "trian.jsonl cannot be read: No such file"),
    ({"trainset": "train.parquet"}, "a file (.jsonl, .json, .csv)"),
    ({"trainset": "wrong.jsonl"}, "wrong.jsonl, line 2, is no JSON"),
    ({"trainset": "wrong.csv"}, "wrong.csv, line 3, has another number of cells"),
    ({"trainset": "twice.csv"}, "twice.csv has several columns with the name 'code'"),
    ({"trainset": "prompt.json"}, "prompt.json holds a dict; a list of examples is needed"),
    ({"trainset": "empty.jsonl"}, "empty.jsonl has no examples in it"),
    ({"trainset": "latin.csv"}, "latin.csv is no text in UTF-8"),
    ({"trainset": "codes.py:number"}, "trainset is a int"),
    ({"trainset": "codes.py:shortest"}, "required positional argument: 'text'.\n"),
    ({"trainset": "codes.py:broken"}, "RuntimeError: the database is away (codes.py, line"),
    ({"teacher": ["codes.py:program", "codes.py:number"]}, "is a int; a dspy.Module is needed"),
    ({"trainset": 7}, "trainset = 7 was given"),
    ({"trainset": {"path": "train.jsonl"}}, "trainset has path"),
    ({"trainset": [1, 2]}, "trainset[0] is a int"),
    ({"inputs": None}, "it is not said which of them the program is given"),
    ({"inputs": ["mesage"]}, "lacks the input 'mesage'; its fields are message, code"),
    ({"inputs": ["code"]}, "message"),
    # Values.
    ({"max_metric_calls": "200"}, "codes.json: max_metric_calls='200' was given"),
    ({"max_metric_calls": "many"}, "max_metric_calls='many' was given"),
    ({"max_metric_calls": 0}, "1 is the lowest"),
    ({"auto": "light"}, "2 budgets were given"),
    ({"search": "papr"}, "allowed"),
    ({"frozen": ["tool:search"]}, "the components are ['self']"),
    ({"repairs": "none"}, "repairs='none' was given"),
    ({"lm": 7}, "the name of a model is needed"),
    ({"lm": {"temperature": 0}}, "the name of a model is needed"),
    ({"log_dir": 7}, "a path is needed, or false for none"),
    ({"log_dir": "codes.py"}, "codes.py"),
    ({"save": "better.txt"}, "the name of a .json file is needed"),
    ({"save": "absent/better.json"}, "cannot be written"),
    ({"seed_instructions": {"self": {"file": "absent.txt"}}}, "absent.txt cannot be read"),
    ({"seed_instructions": {"slef": "Give it."}}, "slef"),
    ({**ARTIFACT, "artifact": "absent.md", "reflection_lm": "openai/m"}, "absent.md cannot be"),
    ({**ARTIFACT, "evaluator": "codes.py:number", "reflection_lm": "openai/m"}, "7"),
]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    """None of this machine's."""
    for name in ("OPENAI_API_KEY", "NO_SUCH_KEY"):
        monkeypatch.delenv(name, raising=False)


def folder_of_mistakes(folder):
    for name, text in {
        "wrong.py": "nothing",
        "signed.py": "import dspy\nclass Codes(dspy.Signature):\n    a: str = dspy.InputField()\n",
        "worse.py": "def (",
        "leaves.py": "raise SystemExit(0)",
        "needs.py": "import no_such_package",
        "wrong.jsonl": '{"message": "a"}\n{"message": \n',
        "wrong.csv": "message,code\na,b\na,b,c\n",
        "twice.csv": "message,code,code\na,b,c\n",
        "prompt.json": "{}",
        "empty.jsonl": "\n",
    }.items():
        (folder / name).write_text(text)
    (folder / "latin.csv").write_bytes("message,code\nGrüße,a\n".encode("latin-1"))


@pytest.mark.parametrize(("settings", "told"), MISTAKES)
def test_a_mistake_is_one_line(tmp_path, capsys, settings, told):
    """Exit code 2, nothing on stdout, before anything is written or asked."""
    config = fill(tmp_path, **settings)
    folder_of_mistakes(tmp_path)
    code = main(["run", str(config)])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert told in err
    assert "codes.json" in err or "log_dir" in settings
    said = [line for line in err.splitlines() if line.startswith("dspy-gepa: ")]
    assert len(said) == 1
    assert "Traceback" not in err
    assert not (tmp_path / "codes-run").exists()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.json", "{", "c.json cannot be read"),
        ("c.json", "[1]", "has no settings in it"),
        ("c.json", "", "c.json cannot be read"),
        ("c.toml", "program = codes", "c.toml"),
        ("c.yaml", "a: b: c", "c.yaml cannot be read"),
        ("c.yml", "just words", "has no settings in it"),
        ("c.ini", "a=1", "a config ends in .toml, .json, .yaml, .yml"),
        ("c.py", "a=1", "a config ends in"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, capsys, name, text, told):
    """Says which file, and where."""
    (tmp_path / name).write_text(text)
    code = main(["plan", str(tmp_path / name)])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "absent.json"], "cannot be read: No such file"),
        (["run", "."], "For a run directory there is: dspy-gepa resume"),
        (["resume", "absent"], "holds no run"),
        (["resume", "."], "holds no run"),
    ],
)
def test_a_path_that_is_wrong(tmp_path, capsys, monkeypatch, arguments, told):
    """One line, exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("form", ["toml", "yaml"])
def test_forms_of_a_config(tmp_path, capsys, form):
    """The same settings in TOML and YAML; where Python has no TOML, what to do is said."""
    given = json.loads(fill(tmp_path).read_text())
    if form == "toml":
        lm = given.pop("lm")
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        lines += ["[lm]", *(f"{name} = {json.dumps(value)}" for name, value in lm.items())]
        text = "\n".join(lines)
    else:
        text = json.dumps(given, indent=1)
    (tmp_path / f"c.{form}").write_text(text)
    code = main(["plan", str(tmp_path / f"c.{form}")])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "c-run (new)" in out


def test_toml_that_cannot_be_read_here(tmp_path, capsys, monkeypatch):
    """On a Python without it and without tomli, JSON is offered."""
    fill(tmp_path)
    (tmp_path / "c.toml").write_text('program = "codes.py:program"')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["plan", str(tmp_path / "c.toml")]) == 2
    assert "write the same settings as JSON" in capsys.readouterr().err


def test_the_whole_traceback_is_there_for_who_asks(tmp_path, capsys):
    """An error of code that is none of ours is one line, and with --traceback all of it."""
    config = fill(tmp_path, executor="codes.py:number", program="codes.py:broken")
    assert main(["plan", str(config), "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_modules_stay_apart(tmp_path, capsys):
    """Two projects with files of the same name each get their own; Python's is kept."""
    for name in ("one", "two"):
        config = fill(tmp_path / name, program="json.py:program", metric="json.py:metric")
        source = (tmp_path / name / "codes.py").read_text().replace("Give the code.", name)
        (tmp_path / name / "json.py").write_text(source)
        assert main(["plan", str(config)]) == 0
    assert "json.py" in capsys.readouterr().out
    assert sys.modules["json"] is json


def test_a_module_is_sought_beside_the_config_first(tmp_path, capsys):
    """Also where the file of the program stands beside another module of that name."""
    config = fill(tmp_path, program="inner/made.py:program", metric="scores_here:metric")
    (tmp_path / "scores_here.py").write_text((tmp_path / "codes.py").read_text())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "made.py").write_text("import beside_made\nfrom codes import program\n")
    (tmp_path / "inner" / "beside_made.py").write_text("")
    (tmp_path / "inner" / "scores_here.py").write_text("raise RuntimeError('not this one')\n")
    code = main(["plan", str(config)])
    assert (code, capsys.readouterr().err) == (0, "")
