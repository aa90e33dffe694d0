"""Side information of any kind: structured all the way to the model, its content nowhere else."""

from __future__ import annotations

import base64
import json
import logging
import random

import dspy
import pytest
from model_server import model_server

from dspy_gepa import GEPA
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import RolledOut
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.models.media import captured, media_kind
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.store.run_dir import read_run


def picture(number):
    """A picture of its own, as far as anybody looks."""
    content = b"\x89PNG\r\n" + random.Random(number).randbytes(2_000)
    return dspy.Image(url=f"data:image/png;base64,{base64.b64encode(content).decode()}")


PICTURES = [picture(number) for number in range(4)]
SCREENSHOT = picture(99)
SOUND = dspy.Audio(
    data=base64.b64encode(random.Random(7).randbytes(900)).decode(), audio_format="wav"
)
CONTENTS = [image.url.partition("base64,")[2] for image in (*PICTURES, SCREENSHOT)] + [SOUND.data]
EXAMPLES = [dspy.Example(page=image, answer="red").with_inputs("page") for image in PICTURES]


class Colour(dspy.Signature):
    """Name the colour."""

    page: dspy.Image = dspy.InputField()
    answer: str = dspy.OutputField()


def metric(gold, pred, trace=None):
    """Right as soon as the answer is red; shows what it saw where it is not."""
    if pred.answer == gold.answer:
        return Feedback(1.0, "Right.")
    said = {"problem": "The colour is wrong.", "seen": [SCREENSHOT]}
    return Feedback(0.0, said, attachments={"noise": SOUND})


def reply(request):
    """A better instruction to whoever reports a problem; red where the instruction says so."""
    text = "\n".join(texts_of(request))
    if "The colour is wrong." in text:
        return "```\nName the colour. It is always red.\n```"
    colour = "red" if "always red" in text else "blue"
    return f"[[ ## answer ## ]]\n{colour}\n\n[[ ## completed ## ]]"


def parts_of(request):
    """All content parts of a request."""
    for message in request["messages"]:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def texts_of(request):
    """All texts of a request."""
    return [part["text"] for part in parts_of(request) if part["type"] == "text"]


def is_reflection(request):
    """Whether it asks for a better instruction."""
    return "The colour is wrong." in "\n".join(texts_of(request))


def image_part(image):
    """How an image stands in a request."""
    return {"type": "image_url", "image_url": {"url": image.url}}


SOUND_PART = {"type": "input_audio", "input_audio": {"data": SOUND.data, "format": "wav"}}


def lines_with_content(texts):
    """The texts that hold encoded content of any picture or sound, cut short."""
    # Any stretch of it would do as much harm as all of it.
    return [text[:200] for text in texts for content in CONTENTS if content[40:100] in text]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run with pictures, and every request that its models were sent."""
    folder = tmp_path_factory.mktemp("run")
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("dspy").addHandler(handler)
    with model_server(200, text=reply) as server:
        lm = server.lm()
        optimizer = GEPA(
            metric,
            reflection_lm=lm,
            max_metric_calls=30,
            num_threads=2,
            log_dir=str(folder),
            track_stats=True,
            track_best_outputs=True,
        )
        with dspy.context(lm=lm):
            best = optimizer.compile(dspy.Predict(Colour), trainset=EXAMPLES, valset=EXAMPLES)
        requests = list(server.requests)
    logging.getLogger("dspy").removeHandler(handler)
    return best, folder, requests, records


def test_a_run_with_pictures_learns_from_them(run):
    """The instruction that the reflection wrote is the best."""
    best, *_ = run
    assert "always red" in best.signature.instructions


def test_no_text_that_a_model_is_sent_holds_encoded_content(run):
    """Neither in rollouts nor in reflections."""
    _, _, requests, _ = run
    assert lines_with_content([text for request in requests for text in texts_of(request)]) == []


def test_a_reflection_is_sent_pictures_and_sounds_as_such(run):
    """The inputs of the examples that it is shown, and what the metric attached."""
    _, _, requests, _ = run
    reflections = [list(parts_of(request)) for request in requests if is_reflection(request)]
    assert reflections
    for parts in reflections:
        assert any(image_part(image) in parts for image in PICTURES)
        assert image_part(SCREENSHOT) in parts
        assert SOUND_PART in parts


def test_no_file_and_no_log_line_holds_encoded_content(run):
    """Pictures lie in files of their own, each once, as the bytes that they are."""
    _, folder, _, records = run
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    texts = [content.decode("latin-1") for content in files.values()]
    assert lines_with_content(texts + records) == []
    stored = [content for path, content in files.items() if path.suffix == ".bin"]
    assert sorted(stored) == sorted(map(base64.b64decode, CONTENTS))


def rolled_out(folder):
    """The stored rollouts that have traces."""
    events = read_run(folder).events
    return [
        event.rollout
        for event in events
        if isinstance(event, RolledOut) and event.rollout.trace.steps
    ]


def test_what_was_stored_comes_back(run):
    """Traces and attachments, as they were."""
    _, folder, _, _ = run
    rollouts = rolled_out(folder)
    assert {rollout.trace.inputs["page"] for rollout in rollouts} <= set(captured(PICTURES))
    failed = [rollout for rollout in rollouts if rollout.score == 0.0]
    assert failed
    for rollout in failed:
        assert rollout.attachments == captured({"noise": SOUND, "image 1": SCREENSHOT})
        assert json.loads(rollout.feedback) == {
            "problem": "The colour is wrong.",
            "seen": ["(attachment: image 1)"],
        }


def test_after_a_restart_a_reflection_is_shown_the_pictures_again(run):
    """What was read from the directory goes to the model as it did before."""
    _, folder, _, _ = run
    failed = next(rollout for rollout in rolled_out(folder) if rollout.score == 0.0)
    (step,) = failed.trace.steps
    seed = Candidate.of({step.component: "Name the colour."})
    request = ReflectionRequest(0, seed, (step.component,), (Evidence(0, failed),))
    with model_server(200, text=reply) as server:
        reflector = Reflector(reflection_asker(server.lm()), media_kind=media_kind)
        answer = reflector(request, {}, {})
        (sent,) = server.requests
    assert "always red" in answer.texts[step.component]
    parts = list(parts_of(sent))
    (shown,) = [image for image in PICTURES if captured(image) == step.inputs["page"]]
    for part in (image_part(shown), image_part(SCREENSHOT), SOUND_PART):
        assert parts.count(part) == 1
    assert lines_with_content(texts_of(sent)) == []
