"""Programs saved here load where only DSPy is, and programs saved elsewhere are optimized here."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import dspy
import pytest
from dspy.teleprompt.gepa.gepa import DspyGEPAResult
from swap_task import LEARNED, compiled, exact, examples, gepa, instructions, task_lm
from warm_python import ALONE

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("3.0.4", "3.1.3", "3.2.1")
STATISTICS = {
    "none": {},
    "stats": {"track_stats": True, "track_best_outputs": True},
    "mipro": {"num_candidates": 4, "max_bootstrapped_demos": 0},
}

spec = importlib.util.spec_from_file_location("write_programs", FIXTURES / "write_programs.py")
write_programs = importlib.util.module_from_spec(spec)
sys.modules["write_programs"] = write_programs
spec.loader.exec_module(write_programs)

READ = """
import sys
sys.modules["dspy_gepa"] = None
import json
from pathlib import Path

import dspy

found = {}
for path in sorted(Path().iterdir()):
    if path.is_dir():
        program = dspy.load(str(path), allow_pickle=True)
    else:
        program = dspy.ChainOfThought("question -> answer")
        program.load(str(path), allow_pickle=path.suffix == ".pkl")
    stats = getattr(program, "detailed_results", None)
    found[path.name] = {
        "texts": {name: p.signature.instructions for name, p in program.named_predictors()},
        "stats": stats and [type(stats).__name__, stats.best_idx, len(stats.candidates)],
        "best": stats and stats.best_candidate.predict.signature.instructions,
        "outputs": stats and stats.best_outputs_valset
        and [output.answer for _, output in stats.best_outputs_valset[0]],
        "score": getattr(program, "score", None),
        "listed": [
            entry["program"].predict.signature.instructions
            for entry in getattr(program, "candidate_programs", [])
        ],
    }
assert not [name for name in sys.modules if name.startswith("dspy_gepa.")]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def improved():
    """Optimized programs, by the statistics that they carry."""
    return {
        name: compiled(gepa(exact, **settings), dspy.ChainOfThought("question -> answer"))
        for name, settings in STATISTICS.items()
    }


@pytest.fixture(scope="module")
def read(improved, tmp_path_factory):
    """What a process without this package reads: file name to what it found there."""
    folder = tmp_path_factory.mktemp("saved")
    for name, program in improved.items():
        program.save(folder / f"{name}.json")
        program.save(folder / f"{name}.pkl")
        program.save(folder / f"{name}-whole", save_program=True)
    done = subprocess.run(
        [sys.executable, "-I", "-c", READ], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("form", [".json", ".pkl", "-whole"])
def test_the_matrix(read, statistics, form):
    """JSON, pickled state and whole program give the texts, with and without statistics."""
    assert read[f"{statistics}{form}"]["texts"] == {"predict": LEARNED}


def test_a_whole_program_takes_the_statistics_along_as_dspys_own(read):
    """`detailed_results` unpickles as DSPy's class, with its programs and outputs."""
    found = read["stats-whole"]
    assert found["stats"] == ["DspyGEPAResult", 1, 2]
    assert (found["best"], found["outputs"]) == (LEARNED, ["Q7"])
    assert read["none-whole"]["stats"] is None
    assert (read["stats.json"]["stats"], read["stats.pkl"]["stats"]) == (None, None)


def test_a_whole_program_takes_mipros_statistics_along(read):
    """`score` and `candidate_programs` are there, and each listed program is one."""
    found = read["mipro-whole"]
    assert found["score"] == 100.0
    assert found["listed"][0] == LEARNED
    assert len(found["listed"]) == 2


def test_statistics_change_nothing_about_a_saved_state(improved, tmp_path):
    """The JSON has the same keys as the student's own, whatever the program carries."""
    student = dspy.ChainOfThought("question -> answer")
    student.save(tmp_path / "student.json")
    expected = json.loads((tmp_path / "student.json").read_text())
    for name, program in improved.items():
        program.save(tmp_path / f"{name}.json")
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found.keys() == expected.keys()
        assert found["metadata"] == expected["metadata"]
        assert found["predict"].keys() == expected["predict"].keys()
        assert found["predict"]["signature"].pop("instructions") == LEARNED
        assert found["predict"]["signature"]["fields"] == expected["predict"]["signature"]["fields"]


def test_a_class_of_ones_own_goes_along_by_value(tmp_path, warm_python):
    """`modules_to_serialize` works on what `compile` returns; the class need not be importable."""
    program = compiled(gepa(exact, track_stats=True), write_programs.TwoSteps())
    program.save(tmp_path / "whole", save_program=True, modules_to_serialize=[write_programs])
    read_it = READ.replace("stats.best_candidate.predict", "stats.best_candidate.steps[0].predict")
    done = warm_python.run(ALONE + read_it, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["whole"]
    assert found["texts"] == instructions(program)
    assert LEARNED in found["texts"].values()


def test_a_loaded_whole_program_is_optimized_further(improved, tmp_path):
    """Statistics of an earlier run are replaced, and stay as they were on the loaded one."""
    improved["stats"].save(tmp_path / "whole", save_program=True)
    loaded = dspy.load(tmp_path / "whole", allow_pickle=True)
    assert type(loaded.detailed_results) is DspyGEPAResult
    before = loaded.detailed_results
    again = compiled(gepa(exact, track_stats=True), loaded)
    assert instructions(again) == {"predict": LEARNED}
    assert len(again.detailed_results.candidates) == 1
    assert loaded.detailed_results is before
    assert len(before.candidates) == 2


def test_without_statistics_an_earlier_run_leaves_its_own(improved):
    """The student's attributes are the user's; nothing is taken away."""
    again = compiled(gepa(exact), improved["stats"])
    assert again.detailed_results.best_idx == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_program_that_an_older_dspy_saved_is_optimized(version, tmp_path):
    """Texts, demonstrations and the model's settings are read, and survive the optimization."""
    program = write_programs.TwoSteps()
    program.load(FIXTURES / f"dspy-{version}.json")
    last = program.by_name["last"]
    assert (last.lm.model, last.lm.kwargs["temperature"]) == ("openai/some-model", 0.5)
    demos = [dict(demo) for demo in last.demos]
    assert [demo["answer"] for demo in demos] == ["Q7", "Z9"]
    program.set_lm(task_lm())

    improved = compiled(gepa(exact, component_selector="all"), program, lm=task_lm())
    assert instructions(improved) == {"steps[0].predict": LEARNED, "by_name['last']": LEARNED}
    assert [dict(demo) for demo in improved.by_name["last"].demos] == demos
    assert last.lm is improved.by_name["last"].lm
    improved.by_name["last"].lm = None
    improved.steps[0].set_lm(None)
    improved.save(tmp_path / "again.json")
    again = write_programs.TwoSteps()
    again.load(tmp_path / "again.json")
    assert instructions(again) == instructions(improved)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_program_that_mipro_made_is_optimized(version):
    """Its demonstrations stay; the instructions get better on what they did not show."""
    program = dspy.ChainOfThought("question -> answer")
    program.load(FIXTURES / f"miprov2-{version}.json")
    shown = [dict(demo) for demo in program.predict.demos]
    assert len(shown) == 4
    assert "lock means K2" in program.predict.signature.instructions
    optimizer = gepa(exact)
    improved = compiled(optimizer, program)
    assert [dict(demo) for demo in improved.predict.demos] == shown
    assert optimizer.result.mean_scores[0] >= 0.5


def test_fixtures_are_small():
    """They are there to be read, and hold no data set."""
    files = [path for path in FIXTURES.iterdir() if path.suffix == ".json"]
    assert len(files) == 2 * len(VERSIONS)
    assert max(path.stat().st_size for path in files) < 4_000


def test_the_reader_learns_what_is_missing(tmp_path):
    """A component that the file does not have is DSPy's own error, by name."""
    compiled(gepa(exact)).save(tmp_path / "one.json")
    with pytest.raises(KeyError, match="predict"):
        dspy.ChainOfThought("question -> answer").load(tmp_path / "one.json")
    assert len(examples(8)) == 8
