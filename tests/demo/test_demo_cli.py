"""`dspy-gepa demo` as its users meet it: in a process of its own."""

import os
import re
import signal
import socket

import dspy
import pytest
from label_server import INSTRUCTION, label_server
from warm_python import COMMAND

# No run uses a key of this machine.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}


@pytest.fixture
def demo(tmp_path, warm_python):
    """Carries out a demo with these arguments, in a folder of its own."""

    def run(*arguments):
        given = {"folder": tmp_path, "environment": ENVIRONMENT}
        return warm_python.run(COMMAND, "demo", *arguments, **given)

    return run


def hosted(address, *arguments):
    """The arguments for a run on the server at this address."""
    return "--model", "openai/small", "--api-base", address, *arguments


def test_a_hosted_model_is_shown_from_start_to_end(demo, tmp_path):
    """Unseen scores before and after, the new instruction, a program that loads alone."""
    with label_server() as address:
        done = demo(*hosted(address, "--limit", "6", "--budget", "40"))
    assert done.returncode == 0, done.stderr
    row = re.search(r"^unseen test +6 +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE)
    assert row, done.stdout
    assert float(row[1]) == 0 < float(row[2])
    assert "before:\nGive the label for the message." in done.stdout
    assert f"after:\n{INSTRUCTION}" in done.stdout
    assert 'program.load("optimized.json")' in done.stdout
    assert "This took" in done.stdout
    program = dspy.Predict("message -> label")
    program.load(tmp_path / "optimized.json")
    assert program.signature.instructions == INSTRUCTION


def test_a_refused_key_is_one_line(demo):
    """A model that cannot be used ends the demo before the search, without a traceback."""
    with label_server(status=401) as address:
        done = demo(*hosted(address, "--limit", "2"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("dspy-gepa: The model does not answer")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "poetry"], "invalid choice: 'poetry'"),
        (["--budget", "0"], "0 was given; a whole number of 1 or more is needed"),
        (["--local-model", "70b"], "invalid choice: '70b'"),
        (["--output", "program.txt"], "the name of a .json file is needed"),
        (["--output", "absent/program.json"], "cannot be written"),
        (["--port", "70000"], "0 (any free one) to 65535 are allowed"),
        (["--gguf", "absent.gguf"], "absent.gguf is not a file"),
        (["--task", "facility", "--data-dir", "absent"], "--data-dir"),
    ],
)
def test_usage_errors_exit_with_2_and_no_traceback(demo, tmp_path, arguments, message):
    """What a user can get wrong is one line that says what to do."""
    done = demo(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_busy_port_exits_with_2(demo):
    """A port that somebody else holds is named on one line."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = demo("--port", str(port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"dspy-gepa: Port {port}")


def test_a_missing_extra_exits_with_2(tmp_path, warm_python):
    """Without the run-time the line says what to install."""
    absent = "import sys; sys.modules['xllamacpp'] = None\n"
    done = warm_python.run(absent + COMMAND, "demo", "--local-model", "0.5b", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("dspy-gepa: xllamacpp is not installed")
    assert 'pip install "dspy_gepa[local-small]"' in done.stderr


def test_ctrl_c_exits_with_130(tmp_path, warm_python):
    """Ctrl-C while scores are taken ends the process soon, with the shell's own exit code."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(600)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        running = warm_python.begin(
            COMMAND, "demo", *hosted(address), folder=tmp_path, environment=ENVIRONMENT
        )
        connection, _ = silent.accept()
        os.kill(running.pid, signal.SIGINT)
        connection.close()
    done = running.wait()
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
