"""What the examples of a run are, as its directory holds it."""

import pytest
from journals import manifest_of

from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.store.example_file import EXAMPLES_FILE, as_lines, read_lines
from dspy_gepa.store.run_dir import RunDir, read_run


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n"])
def test_any_sign_of_an_example_comes_back(sign):
    """A line of the file ends where it was ended, whatever stands in it."""
    text = f"before{sign}after"
    (described,) = read_lines(as_lines([({"question": text}, {"answer": "a"})])).values()
    assert described.inputs == {"question": text}


def test_a_damaged_file_is_said_to_be_damaged(tmp_path):
    """And not that it could not be read, for which a disk may be full."""
    RunDir(tmp_path, manifest_of()).close()
    (tmp_path / EXAMPLES_FILE).write_text("no example\n")
    with pytest.raises(JournalCorrupt, match="holds no example"):
        read_run(tmp_path)
