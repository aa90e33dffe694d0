"""Asking a model outside of the program."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import dspy
import pytest
from dspy.utils import DummyLM
from model_server import model_server
from scripted_engine import scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.asking import ask, language_model, reflection_asker
from dspy_gepa.models.media import captured
from dspy_gepa.reflect.exchange import Prompt, PromptTooLong, Reply
from dspy_gepa.reflect.reflector import Reflector


def test_a_model_answers_through_dspy():
    """The reply is text, and the model's own history tells of the call, as of a predictor's."""
    lm = scripted_lm(str.upper)
    assert ask(lm, Prompt("hello")) == Reply("HELLO", is_truncated=False)
    (entry,) = lm.history
    assert entry["messages"] == [{"role": "user", "content": "hello"}]


def litellms_own(_):
    import litellm

    raise litellm.ContextWindowExceededError("8000 tokens at most", "a-model", "a-server")


def dspys(_):
    raise dspy.ContextWindowExceededError(message="8000 tokens at most")


def raised_from_it(prompt):
    try:
        litellms_own(prompt)
    except Exception as error:
        raise RuntimeError("my model failed") from error


class Own(dspy.BaseLM):
    """A model of the user's own, which lets through what a client raises."""

    def __init__(self, forward):
        super().__init__("own/model", "chat", 1.0, 100, cache=False)
        self._forward = forward

    def forward(self, prompt=None, messages=None, **_):
        return self._forward(prompt)


@pytest.mark.filterwarnings("ignore:Implementing custom LMs")
@pytest.mark.parametrize("wrapped", [Own, lambda forward: forward])
@pytest.mark.parametrize("too_long", [litellms_own, dspys, raised_from_it])
def test_a_model_of_ones_own_may_say_in_a_clients_words_that_a_prompt_is_too_long(
    wrapped, too_long
):
    """It is then asked with a shorter one: what DSPy would have made of the error is not needed."""
    with pytest.raises(PromptTooLong, match="8000 tokens"):
        ask(wrapped(too_long), Prompt("hello"))


@pytest.mark.parametrize("temperature", [None, 0.0, 1.0])
def test_no_reply_comes_from_the_cache(temperature):
    """The same prompt is answered anew, without a warning and on the same model object."""
    counted = iter("123")
    lm = scripted_lm(lambda _: next(counted), cache=True, temperature=temperature)
    before = (lm.cache, dict(lm.kwargs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = [ask(lm, Prompt("the very same prompt")).text for _ in range(3)]
        assert said == ["1", "2", "3"]
    assert len(lm.history) == 3
    assert (lm.cache, dict(lm.kwargs)) == before


def test_nothing_lands_in_the_callers_trace():
    """A caller that collects a trace finds its own calls there and none of ours."""
    trace = []
    predict = dspy.Predict("question -> answer")

    def reflect(prompt):
        return predict(question=prompt).answer

    with dspy.context(trace=trace, lm=DummyLM([{"answer": "x"}])):
        assert ask(reflect, Prompt("hello")).text == "x"
    assert trace == []


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("text", "text"),
        (["first", "second"], "first"),
        (["", "second"], "second"),
        ([{"text": "said", "reasoning_content": "thought"}], "said"),
        ([{"text": None, "reasoning_content": "thought"}], ""),
        ([], ""),
        (None, ""),
        (("text",), "text"),
    ],
    ids=repr,
)
def test_replies_of_every_form(reply, text):
    """Text is taken out of lists and of the dicts that reasoning models give."""
    assert ask(lambda prompt: reply, Prompt("hello")) == Reply(text)


def test_a_reasoning_model_of_the_old_kind_is_read():
    """DSPy gives a dict where there is more than text."""

    class Reasoner(dspy.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            message = SimpleNamespace(content="said", reasoning_content="thought")
            choice = SimpleNamespace(message=message)
            return SimpleNamespace(choices=[choice], usage={}, model="m")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert ask(Reasoner("some/model"), Prompt("hello")).text == "said"


def test_a_served_model_answers():
    """The way over HTTP is DSPy's own."""
    with model_server(200, text="served") as server:
        assert ask(server.lm(), Prompt("hello")) == Reply("served", is_truncated=False)
        (request,) = server.requests
    assert request["messages"] == [{"role": "user", "content": "hello"}]


def test_a_reply_that_is_no_text_is_refused():
    """The error says what came and what is needed."""
    with pytest.raises(WrongType, match="gave a int"):
        ask(lambda prompt: 3, Prompt("hello"))


def test_a_name_stands_for_a_model():
    """A name becomes a dspy.LM; a model and a function stay themselves."""
    named = language_model("openai/some-model")
    assert (type(named), named.model) == (dspy.LM, "openai/some-model")
    assert language_model(named) is named
    assert language_model(str.upper) is str.upper


class OnlyAwaited(dspy.BaseLM):
    async def aforward(self, prompt=None, messages=None, **settings):
        raise AssertionError("nobody awaits it")


async def awaited(prompt):
    return prompt


async def streaming(prompt):
    yield prompt


NO_MODELS = {
    "nothing": (None, "cannot be called"),
    "a number": (3, "cannot be called"),
    "a list": (["openai/some-model"], "cannot be called"),
    "settings": ({"model": "openai/some-model"}, "cannot be called"),
    "a class": (dspy.LM, "is a class"),
    "an empty name": ("", "names no model"),
    "a blank name": (" \n", "names no model"),
    "a model without a call": (OnlyAwaited("own"), "neither forward nor __call__"),
    "a program": (dspy.Predict("prompt -> reply"), "is a program"),
    "an adapter": (dspy.ChatAdapter(), "cannot be called with a prompt alone"),
    "a coroutine function": (awaited, "has to be awaited"),
    "an asynchronous generator": (streaming, "has to be awaited"),
    "part of a coroutine function": (partial(awaited), "has to be awaited"),
    "a function of nothing": (lambda: "", "cannot be called with a prompt alone"),
    "a function of two": (lambda prompt, media: "", "missing a required argument: 'media'"),
    "a function by name": (lambda *, prompt: "", "cannot be called with a prompt alone"),
}


@pytest.mark.parametrize(("given", "reason"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused_in_the_constructor(given, reason):
    """The error shows it and says why, and what may be passed."""
    with pytest.raises(WrongType, match=reason) as refused:
        language_model(given)
    assert "Pass a dspy.LM" in str(refused.value)
    if given is not None:
        with pytest.raises(WrongType, match=reason):
            GEPA(lambda gold, pred: 1.0, max_metric_calls=50, reflection_lm=given)


def test_without_a_model_the_configured_one_is_asked():
    """It is looked up when the function is made, not when it asks."""
    with dspy.context(lm=scripted_lm("configured")):
        asker = reflection_asker(None)
    assert asker(Prompt("hello")).text == "configured"
    with dspy.context(lm=None), pytest.raises(SettingsError, match="no model to reflect with"):
        reflection_asker(None)


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


class Drawing(dspy.Type):
    """Media of a user's own kind."""

    url: str

    def format(self):
        """As DSPy is told to send it."""
        return [{"type": "image_url", "image_url": {"url": self.url}}]


MEDIA = {
    "a user's own type": (
        Drawing(url=PIXEL),
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ),
    "image": (dspy.Image(url=PIXEL), {"type": "image_url", "image_url": {"url": PIXEL}}),
    "image elsewhere": (
        dspy.Image(url="https://images.example/one.png"),
        {"type": "image_url", "image_url": {"url": "https://images.example/one.png"}},
    ),
    "audio": (
        dspy.Audio(data="UklGRg==", audio_format="wav"),
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ),
    "file": (
        dspy.File(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf"),
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
        },
    ),
}


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize(("shown", "part"), MEDIA.values(), ids=MEDIA)
def test_media_is_sent_as_structured_parts(shown, part, is_stored):
    """On the wire it follows the text and its own title, whether it is DSPy's object or ours; the
    LM's settings hold for this call too, and nothing warns."""
    media = captured(shown) if is_stored else shown
    with model_server(200, text="seen") as server, warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        lm = server.lm(temperature=0.25)
        assert ask(lm, Prompt("Look at [image 1].", (("[image 1]", media),))) == Reply(
            "seen", is_truncated=False
        )
        (request,) = server.requests
    text, title = ({"type": "text", "text": said} for said in ("Look at [image 1].", "[image 1]"))
    assert request["messages"] == [{"role": "user", "content": [text, title, part]}]
    assert request["temperature"] == 0.25
    assert len(lm.history) == 1


def test_media_is_asked_about_anew():
    """Also with media, no reply comes from the cache."""
    prompt = Prompt("Look.", (("[image 1]", dspy.Image(url=PIXEL)),))
    with model_server(200, text="seen") as server:
        lm = server.lm()
        lm.cache = True
        assert [ask(lm, prompt).text for _ in range(2)] == ["seen", "seen"]
        assert len(server.requests) == 2


def test_silence_about_media_is_an_empty_reply():
    """As it is where a model is silent about a text."""
    with model_server(200, text="") as server:
        lm = server.lm()
        prompt = Prompt("Look.", (("[image 1]", dspy.Image(url=PIXEL)),))
        assert [ask(lm, Prompt("x")).text, ask(lm, prompt).text] == ["", ""]


WITH_PIXEL = Prompt("Look at [image 1].", (("[image 1]", dspy.Image(url=PIXEL)),))


@pytest.mark.parametrize(
    ("status", "refusal"), [(400, "no"), (400, "too many images"), (500, "image input unsupported")]
)
def test_a_model_that_refuses_media_is_asked_with_the_text_alone(status, refusal, caplog):
    """Most small models see nothing; one warning says so, without any content."""
    with model_server(status, 200, text="unseen") as server:
        server.refusal = refusal
        assert ask(server.lm(), WITH_PIXEL) == Reply("unseen", is_truncated=False)
        _, second = server.requests
    assert second["messages"] == [{"role": "user", "content": WITH_PIXEL.text}]
    (warned,) = [each.getMessage() for each in caplog.records if each.name.endswith("dspy_gepa")]
    assert "refuses [image 1], and is asked without" in warned
    assert PIXEL[30:60] not in warned


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_what_is_wrong_with_the_server_is_not_blamed_on_media(status):
    """It is raised, as it is where there is text alone."""
    with model_server(status, text="never") as server:
        with pytest.raises(dspy.LMError):
            ask(server.lm(), WITH_PIXEL)
        assert len(server.requests) == 1


def test_a_function_is_sent_the_text_alone():
    """It takes nothing else; the marks in the text say what it does not see."""
    prompt = Prompt("Look at [image 1].", (("[image 1]", dspy.Image(url=PIXEL)),))
    assert ask(str.upper, prompt) == Reply("LOOK AT [IMAGE 1].")


@pytest.mark.parametrize("media", [(), (("[image 1]", dspy.Image(url=PIXEL)),)], ids=len)
def test_a_reply_that_was_cut_off_is_known(media):
    """The server's reason is found for the very call, while other threads ask the same model."""
    with model_server(200, text="said") as server:
        server.cut_off = "long"
        lm = server.lm()

        def is_cut_off(number):
            wanted = number % 2 == 0
            return ask(lm, Prompt("long" if wanted else "brief", media)).is_truncated == wanted

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(is_cut_off, range(24)))


def test_where_no_history_is_kept_it_is_not_known_whether_a_reply_was_cut_off():
    """DSPy then hands out no more than the text."""
    with model_server(200, text="said") as server, dspy.context(disable_history=True):
        server.cut_off = "long"
        assert ask(server.lm(), Prompt("long")) == Reply("said")


def test_a_function_that_asks_a_model_passes_its_end_on():
    """What was cut off within it is cut off."""
    with model_server(200, text="said") as server:
        server.cut_off = "long"
        lm = server.lm()

        def reflect(text):
            return lm(text)

        assert ask(reflect, Prompt("long")) == Reply("said", is_truncated=True)


class Own(dspy.BaseLM):
    """A model of a user's own, whose reply is a function of the prompt."""

    def __init__(self, reply):
        super().__init__("own/model")
        self.reply = reply

    def served(self, messages):
        message = SimpleNamespace(content=self.reply(messages[-1]["content"]), tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model="own")


class Plain(Own):
    """As the shortest one is written: it takes no options."""

    def forward(self, prompt=None, messages=None):
        return self.served(messages)


class WithOptions(Own):
    """As DSPy's documentation writes it."""

    def forward(self, prompt=None, messages=None, **kwargs):
        assert "cache" not in kwargs
        return self.served(messages)


class ByCall(Own):
    """Overrides the call itself, as DSPy's own DummyLM does."""

    def __call__(self, prompt=None, messages=None, **kwargs):
        said = self.reply(messages[-1]["content"])
        self.history.append({"messages": messages, "prompt": prompt, "outputs": [said]})
        return [said]


class Positional(Own):
    """Its forward has other defaults and an option of its own."""

    def forward(self, prompt, messages, temperature=0.5):
        assert temperature == 0.5
        return self.served(messages)


KINDS = [Plain, WithOptions, Positional, ByCall, scripted_lm]


@pytest.mark.filterwarnings("ignore:Implementing custom LMs")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_model_of_every_kind_that_predictors_accept_is_asked_as_they_ask(kind):
    """With messages, and the prompt stands in its history."""
    lm = kind(str.upper)
    assert ask(lm, Prompt("hello")).text == "HELLO"
    (entry,) = lm.history
    shown = entry["messages"] or [{"role": "user", "content": entry["prompt"]}]
    assert shown == [{"role": "user", "content": "hello"}]
    assert reflection_asker(lm)(Prompt("hello")).text == "HELLO"


@pytest.mark.filterwarnings("ignore:Implementing custom LMs")
@pytest.mark.parametrize("kind", [*KINDS, lambda reply: reply], ids=lambda kind: kind.__name__)
def test_a_model_of_every_kind_reflects(kind):
    """Both questions reach it, the second one about its first reply; a function is one too."""
    asked = []

    def reply(prompt):
        asked.append(prompt)
        return "Hm." if len(asked) == 1 else "<new_text>\nLabel K3.\n</new_text>"

    run = Rollout(0.0, "K3.", trace=Trace(steps=(Step("label", {"m": "x"}, {"l": "y"}),)))
    candidate = Candidate.of({"label": "Label it."})
    request = ReflectionRequest(1, candidate, ("label",), (Evidence(0, run),))
    reflector = Reflector(reflection_asker(kind(reply)))
    first = reflector(request, {}, {})
    second = reflector(replace(request, repairs=first.repairs), {}, {})
    assert second.texts == {"label": "Label K3."}
    assert "K3." in asked[0]
    assert "Hm." in asked[1]


def test_a_name_reflects(monkeypatch):
    """It stands for the model that litellm knows by it."""
    with model_server(200, text="served") as server:
        monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.port}/v1")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        assert reflection_asker("openai/some-model")(Prompt("hello")).text == "served"
        (request,) = server.requests
    assert request["messages"] == [{"role": "user", "content": "hello"}]
