"""`dspy-gepa demo` as its users meet it: in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import dspy
import pytest
from label_server import INSTRUCTION, label_server

# No start waits for a price list from the internet, and no run uses a key of this machine.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
COMMAND = [sys.executable, "-m", "dspy_gepa", "demo"]


def demo(folder, *arguments):
    """The finished process of a demo that was started in this folder."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def hosted(address, *arguments):
    """The arguments for a run on the server at this address."""
    return "--model", "openai/small", "--api-base", address, *arguments


def test_a_hosted_model_is_shown_from_start_to_end(tmp_path):
    """Unseen scores before and after, the new instruction, a program that loads alone."""
    with label_server() as address:
        done = demo(tmp_path, *hosted(address, "--limit", "6", "--budget", "40"))
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


def test_a_refused_key_is_one_line(tmp_path):
    """A model that cannot be used ends the demo before the search, without a traceback."""
    with label_server(status=401) as address:
        done = demo(tmp_path, *hosted(address, "--limit", "2"))
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
def test_usage_errors_exit_with_2_and_no_traceback(tmp_path, arguments, message):
    """What a user can get wrong is one line that says what to do."""
    done = demo(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_busy_port_exits_with_2(tmp_path):
    """A port that somebody else holds is named on one line."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = demo(tmp_path, "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"dspy-gepa: Port {port}")


def test_a_missing_extra_exits_with_2(tmp_path):
    """Without the run-time the line says what to install."""
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from dspy_gepa.command.main import main\n"
        "sys.exit(main(['demo', '--local-model', '0.5b']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("dspy-gepa: xllamacpp is not installed")
    assert 'pip install "dspy_gepa[local-small]"' in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_exits_with_130(tmp_path):
    """Ctrl-C while scores are taken ends the process soon, with the shell's own exit code."""
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        running = subprocess.Popen(
            [*COMMAND, *hosted(address)],
            cwd=tmp_path,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What is begun in the background ignores Ctrl-C; no threads here.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        for line in running.stdout:
            if line.startswith("Model:"):
                break
        silent.settimeout(60)
        connection, _ = silent.accept()
        running.send_signal(signal.SIGINT)
        time.sleep(0.5)
        connection.close()
    _, complaint = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in complaint
