"""The rows of tasks: a folder first, then the hub, then one error that says both ways."""

import json

import dspy
import pytest
from task_trials import checked_shape, error_of, from_folder, hub_of, kept
from tasks import TASKS, DataNotFound, Hub, Source, Splits, cut, load, task_of

ROW = {"question": "How many legs have two hens?", "answer": "2 * 2 = 4\n#### 4"}
COLUMNS = ("question", "answer")
HUB = Hub("openai/gsm8k", "test", "main")
GENERATED = {name for name in TASKS if name.startswith("house_")} | {"reasoning_gym"}


def found(folder, file="test.jsonl", **settings):
    """What is found as GSM8K."""
    return Source(folder).find("gsm8k", file, COLUMNS, **{"elsewhere": HUB, **settings})


@pytest.mark.parametrize("file", ["test.jsonl", "test.json", "test.jsonl.gz", "test.json.gz"])
def test_a_file_is_read_in_all_its_forms(tmp_path, file):
    """JSON Lines and a JSON list, compressed or not, give the same rows, and the source says so."""
    kept(tmp_path, f"gsm8k/{file}", [ROW, ROW])
    assert found(tmp_path, file) == ([ROW, ROW], f"the folder's gsm8k/{file}", True)


def test_signs_within_a_text_end_no_row(tmp_path):
    """Line separators of Unicode inside a text stay in it."""
    row = {**ROW, "question": "one\u2028two\x85three"}
    path = tmp_path / "gsm8k" / "test.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n\n", "utf-8")
    assert found(tmp_path).rows == [row]


def test_the_folder_comes_first(tmp_path, monkeypatch):
    """The hub is not asked where the folder has the rows; it is where the folder has not."""
    asked = hub_of(monkeypatch, {"openai/gsm8k": [{**ROW, "question": "hub"}]})
    kept(tmp_path / "full", "gsm8k/test.jsonl", [ROW])
    assert found(tmp_path / "full").rows == [ROW]
    assert not asked
    assert found(tmp_path / "empty").rows == [{**ROW, "question": "hub"}]
    assert found(None).source == "the hub's openai/gsm8k main, split test"
    assert asked[0] == {"name": "openai/gsm8k", "config": "main", "split": "test"}


def test_the_variable_names_a_folder_and_the_argument_wins(tmp_path, monkeypatch):
    """DSPY_GEPA_DATA is used where no folder is given."""
    kept(tmp_path / "variable", "gsm8k/test.jsonl", [{**ROW, "question": "variable"}])
    kept(tmp_path / "argument", "gsm8k/test.jsonl", [{**ROW, "question": "argument"}])
    monkeypatch.setenv("DSPY_GEPA_DATA", str(tmp_path / "variable"))
    assert found(None).rows[0]["question"] == "variable"
    assert found(tmp_path / "argument").rows[0]["question"] == "argument"


def test_the_hub_s_own_conversion_is_asked_for_by_its_files(monkeypatch):
    """A data set that is a script is read as the parquet files that the hub made of it."""
    asked = hub_of(monkeypatch, {"hover-nlp/hover": [ROW]})
    hub = Hub("hover-nlp/hover", "train", parquet="default/train/*.parquet")
    assert found(None, elsewhere=hub).rows == [ROW]
    assert asked[0]["revision"] == "refs/convert/parquet"
    assert asked[0]["data_files"] == "default/train/*.parquet"


@pytest.mark.parametrize("name", sorted(set(TASKS) - GENERATED))
def test_the_error_of_a_missing_source_says_both_ways(name, monkeypatch, tmp_path):
    """Folder, argument and variable, and the public name or place; never other rows instead."""
    message = error_of(name, monkeypatch, tmp_path)
    assert all(way in message for way in ("--data-dir", "DSPY_GEPA_DATA")), message
    assert any(way in message for way in ("the hub serve", "are public at", "pip install"))


def test_what_the_hub_says_is_in_the_error(monkeypatch):
    """Why the hub did not serve the rows is said, in one line."""
    hub_of(monkeypatch, {})
    with pytest.raises(DataNotFound, match=r"FileNotFoundError: Dataset 'openai/gsm8k' doesn't"):
        load("gsm8k")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{broken", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"", "holds no list of rows"),
        (b'"text"', "Row 1 of .* has no question, answer"),
        (b'{"question": "no answer"}', "Row 1 of .* has no answer"),
        (b'{"question": "", "answer": ""}\n[1]', "Row 2 of .* has no question, answer"),
    ],
)
def test_a_broken_file_is_said_and_not_passed_over(tmp_path, content, message):
    """A file that is there and cannot be read is an error, however well the hub would serve."""
    path = kept(tmp_path, "gsm8k/test.jsonl", [ROW])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        found(tmp_path)


def test_a_compressed_file_that_is_cut_short_is_said(tmp_path):
    """Half a download is an error that names the file."""
    path = kept(tmp_path, "gsm8k/test.jsonl.gz", [ROW] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"test\.jsonl\.gz cannot be read"):
        found(tmp_path, "test.jsonl.gz")


def test_no_task_of_another_name(tmp_path):
    """The error lists the tasks."""
    with pytest.raises(ValueError, match=r"no task 'gsm9k'.*facility, finer, gsm8k"):
        load("gsm9k", Source(tmp_path))


def examples(count):
    """So many examples."""
    return [dspy.Example(question=str(i), answer="1").with_inputs("question") for i in range(count)]


@pytest.mark.parametrize("count", range(3, 40))
def test_fewer_rows_are_shared_out(count):
    """Every split has one at least, none has more than asked for, and no row stands in two."""
    splits = cut(examples(count), (5, 5, 10))
    names = [example.question for split in splits for example in split]
    assert len(set(names)) == len(names)
    assert all(splits)
    assert [len(split) for split in splits] == [5, 5, 10] or count < 20
    assert len(names) >= min(20, count) - 2


def test_two_rows_are_too_few():
    """The error says what is needed."""
    with pytest.raises(ValueError, match="at least three"):
        cut(examples(2), (5, 5, 10))


def origin_of(splits):
    """The origin of a task of these splits."""
    settings = {"source": "here", "licence": "MIT", "published": (1, 1, 2)}
    return task_of("Name", dspy.Predict("question -> answer"), splits, None, **settings).origin


def test_the_digest_is_that_of_the_rows_in_their_splits():
    """Equal rows in equal splits have equal digests; another split or order has another one."""
    rows = examples(4)
    same, again = origin_of(cut(rows, (1, 1, 2))), origin_of(cut(examples(4), (1, 1, 2)))
    other = origin_of(Splits(rows[:1], rows[1:2], rows[3:1:-1]))
    assert same == again
    assert same.digest != other.digest
    assert len(same.digest) == 12


def test_the_origin_says_what_differs():
    """A split of another size than the literature's is named, one of the same is not."""
    assert not origin_of(cut(examples(4), (1, 1, 2))).differs
    smaller = origin_of(cut(examples(3), (1, 1, 2)))
    assert smaller.differs == "the literature has 1/1/2 rows"
    assert str(smaller) == (
        f"Name: 1 train, 1 validation, 1 test; from here; digest {smaller.digest}; licence MIT; "
        "the literature has 1/1/2 rows"
    )


def test_a_task_is_made_anew(tmp_path):
    """Neither the program nor the examples are shared between two loads."""
    rows = [{**ROW, "question": str(number)} for number in range(3)]
    first = from_folder(tmp_path, "gsm8k", {"gsm8k/test.jsonl": rows})
    second = load("gsm8k", Source(tmp_path))
    checked_shape(first)
    assert first.program is not second.program
    assert first.train[0] is not second.train[0]
    assert first.origin == second.origin
