"""Every block of the README and of the guide runs, and its commands are those that CI runs."""

import os
import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from model_server import model_server
from warm_python import FORGET

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "dspy_gepa" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README + GUIDE, re.MULTILINE | re.DOTALL)

REPLY = """<new_text>Money matters have the code Q4.</new_text>

[[ ## reasoning ## ]]
It is about money.

[[ ## answer ## ]]
Q4

[[ ## completed ## ]]"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("position", range(len(BLOCKS)))
def test_every_block_runs(position, folder, warm_python):
    """A reader who copies a block gets what it says; the models answer on loopback here."""
    with model_server(200, text=REPLY) as server:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "not a real key",
            "OPENAI_API_BASE": f"http://127.0.0.1:{server.port}/v1",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{server.port}/v1",
        }
        code = FORGET + BLOCKS[position]  # or else what a block forgot to import would be there
        done = warm_python.run(code, folder=folder, environment=environment)
    assert done.returncode == 0, done.stderr
    if "better.save" in BLOCKS[position]:
        assert (folder / "better.json").exists()
        assert server.requests


def test_both_commands_install_what_they_run():
    """The demo command and the test command stand in the README, each with its pip install."""
    for name, ending in (("demo", "dspy-gepa demo"), ("test", "pytest")):
        command = re.search(rf"<!-- {name} command -->\n```bash\n(.*)\n```", README)
        assert command is not None
        assert command[1].startswith("pip install ")
        assert f" && {ending}" in command[1]


def test_every_extra_that_is_named_exists():
    """No reader is told to install an extra that pyproject.toml does not define."""
    named = set(re.findall(r'pip install (?:-e )?"[\w.]*\[([\w-]+)\]"', README))
    assert named
    assert named <= set(metadata("dspy_gepa").get_all("Provides-Extra") or ())


def test_it_is_read_in_two_minutes():
    """What takes longer stands in the guide, and every page that is pointed to exists."""
    assert len(README.splitlines()) <= 150
    for page in re.findall(r"\]\((?!http)([^)#]+)", README + GUIDE.replace("](../", "](")):
        assert (ROOT / page).exists(), page
