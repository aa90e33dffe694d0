"""The live page: for browsers on this machine that know its address, and for nobody else."""

import http.client
import threading

import dspy
import label_task
import pytest

from dspy_gepa import GEPA
from dspy_gepa.command.live import LiveServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    optimizer = GEPA(
        label_task.metric,
        max_metric_calls=40,
        num_threads=1,
        reflection_lm=label_task.reflection_lm(),
        log_dir=str(folder),
    )
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(
            dspy.Predict("message -> code"), label_task.examples(8), label_task.examples(8)
        )
    with LiveServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(server, method="GET", path=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=600)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, server.path if path is None else path, headers=named)
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_page_is_given(server):
    """With headers that keep other pages out and nothing in caches."""
    answer, page = asked(server)
    assert answer.status == 200
    assert b"bill means Q7" in page
    assert b"connect-src &#39;self&#39;" in page
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_what_did_not_change_is_not_sent_again(server):
    """Whoever names the state that it has gets no page."""
    tag = asked(server)[0].headers["ETag"]
    answer, page = asked(server, If_None_Match=tag)
    assert (answer.status, page) == (304, b"")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost"])
def test_another_name_is_refused(server, host):
    """A page of elsewhere whose name leads to this machine cannot read it."""
    answer, page = asked(server, Host=host)
    assert (answer.status, page) == (421, b"")


@pytest.mark.parametrize("path", ["/", "/report.html", "/../events.jsonl", "//", "/%2e%2e/"])
def test_there_is_one_path(server, path):
    """No file of the directory is served."""
    assert asked(server, path=path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_there_is_one_method(server, method):
    """Nothing can be changed."""
    assert asked(server, method)[0].status == 501


def test_it_is_served_to_this_machine_only(server):
    """It listens on the loopback address, under a path that cannot be guessed."""
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.path) > 16
