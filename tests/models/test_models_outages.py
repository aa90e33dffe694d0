"""What is the infrastructure's fault, and what is the candidate's."""

from __future__ import annotations

import asyncio
import builtins

import httpx
import litellm
import openai
import pytest
from dspy.utils import exceptions as dspy_errors

from dspy_gepa.models.outages import is_transient, is_unmistakable, outage_in, too_long_in

REQUEST = httpx.Request("POST", "http://127.0.0.1/")


def refused(kind: type[Exception], status: int) -> Exception:
    if issubclass(kind, openai.APIConnectionError):
        return kind(request=REQUEST)
    return kind("no", response=httpx.Response(status, request=REQUEST), body=None)


LASTING = [
    dspy_errors.LMAuthError("x"),
    dspy_errors.LMBillingError("x"),
    dspy_errors.LMNotConfiguredError("x"),
    dspy_errors.LMUnsupportedModelError("x"),
    refused(openai.AuthenticationError, 401),
    refused(openai.NotFoundError, 404),
    refused(openai.PermissionDeniedError, 403),
    litellm.AuthenticationError("x", "openai", "m"),
    litellm.NotFoundError("x", "m", "openai"),
    ValueError("No LM is loaded. Please configure the LM using `dspy.configure(lm=dspy.LM(...))`."),
    ValueError("LM must be an instance of `dspy.BaseLM`, not a string."),
]
TRANSIENT = [
    dspy_errors.LMRateLimitError("x"),
    dspy_errors.LMTimeoutError("x"),
    dspy_errors.LMServerError("x"),
    dspy_errors.LMTransportError("x"),
    refused(openai.RateLimitError, 429),
    refused(openai.APIConnectionError, 0),
    refused(openai.APITimeoutError, 0),
    refused(openai.InternalServerError, 500),
    litellm.RateLimitError("x", "openai", "m"),
    litellm.ServiceUnavailableError("x", "openai", "m"),
    litellm.Timeout("x", "m", "openai"),
    dspy_errors.LMProviderError("a reply that was cut off"),
]
DEBATABLE = [
    dspy_errors.LMUnsupportedFeatureError("x"),
    dspy_errors.LMUnexpectedError("x"),
]
THE_CANDIDATES = [
    dspy_errors.ContextWindowExceededError(),
    dspy_errors.LMInvalidRequestError("too long, in a local server's words"),
    dspy_errors.LMInvalidRequestError("x", provider_code="content_filter"),
    ValueError("No luck"),
    ConnectionError("a tool's own server"),
    TimeoutError(),
    KeyError("answer"),
]


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_lasts_is_not_tried_again(error):
    """Keys, models and settings do not mend themselves."""
    assert (outage_in(error), is_transient(error), is_unmistakable(error)) == (error, False, True)


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_passes_is_tried_again(error):
    """Limits, time-outs, dead connections and a server's own errors."""
    assert (outage_in(error), is_transient(error), is_unmistakable(error)) == (error, True, True)


@pytest.mark.parametrize("error", DEBATABLE, ids=repr)
def test_other_errors_of_a_model_are_outages_where_they_are_raised(error):
    """Swallowed, they say too little: a program may rely on them."""
    assert (outage_in(error), is_transient(error), is_unmistakable(error)) == (error, False, False)


@pytest.mark.parametrize("error", THE_CANDIDATES, ids=repr)
def test_other_errors_are_the_candidates(error):
    """A prompt that is too long, refused content, and all that is no model's business."""
    assert (outage_in(error), is_transient(error), is_unmistakable(error)) == (None, False, False)


def test_the_cause_is_looked_for():
    """An error raised from an outage is one; an error raised while handling one is not."""
    outage = dspy_errors.LMAuthError("x")
    raised_from, raised_while = RuntimeError(), RuntimeError()
    raised_from.__cause__ = outage
    raised_while.__context__ = outage
    assert (outage_in(raised_from), outage_in(raised_while), outage_in(None)) == (
        outage,
        None,
        None,
    )


def test_refused_content_is_known_behind_litellm():
    """The provider's code may be missing; the class of the original error is not."""
    original = litellm.ContentPolicyViolationError("x", "m", "openai")
    between, error = RuntimeError(), dspy_errors.LMInvalidRequestError("x")
    between.__cause__, error.__cause__ = original, between
    assert outage_in(error) is None


def test_errors_that_were_raised_from_each_other_are_looked_at_once():
    """A circle of causes ends the search for one."""
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert outage_in(one) is None
    assert too_long_in(one) is None


class ProviderError(Exception):
    """A client's error, with what its answer said."""

    def __init__(self, **fields):
        super().__init__("too much")
        vars(self).update(fields)


class Group(Exception):
    """As `ExceptionGroup`, which Python 3.10 has not."""

    def __init__(self, *errors):
        super().__init__("several")
        self.exceptions = errors


def raised_from(error):
    """Another error, raised from this one."""
    other = RuntimeError("it failed")
    other.__cause__ = error
    return other


def raised_while(error, *, hidden=False):
    """Another error, raised while this one was handled."""
    other = RuntimeError("it failed")
    other.__context__, other.__suppress_context__ = error, hidden
    return other


def bad_request(body):
    """What OpenAI's client raises for an answer with this body."""
    return openai.BadRequestError("no", response=httpx.Response(400, request=REQUEST), body=body)


TOO_LONG = bad_request({"code": "context_length_exceeded", "message": "too many tokens"})


@pytest.mark.parametrize(
    "error",
    [
        TOO_LONG,
        bad_request({"error": {"code": "context_length_exceeded"}}),
        bad_request({"type": "error", "error": {"type": "request_too_large"}}),
        ProviderError(code="context_length_exceeded"),
        ProviderError(type="request_too_large"),
        dspy_errors.LMInvalidRequestError("x", provider_code="context_length_exceeded"),
        raised_from(TOO_LONG),
        raised_while(TOO_LONG),
        raised_from(raised_while(TOO_LONG)),
        Group(ValueError("x"), TOO_LONG),
        Group(ValueError("x"), Group(raised_from(TOO_LONG))),
        raised_from(Group(dspy_errors.ContextWindowExceededError())),
        raised_while(Group(raised_while(litellm.ContextWindowExceededError("x", "m", "openai")))),
    ],
    ids=repr,
)
def test_a_refusal_of_a_long_prompt_is_known_by_what_the_provider_calls_it(error):
    """In whatever it is wrapped; it is no outage."""
    assert too_long_in(error) is not None
    assert outage_in(error) is None


@pytest.mark.parametrize(
    "error",
    [
        bad_request({"code": "invalid_value"}),
        bad_request("context_length_exceeded"),
        bad_request(None),
        ProviderError(code=400),
        ProviderError(body=["context_length_exceeded"]),
        ProviderError(exceptions="no group"),
        ProviderError(exceptions=("context_length_exceeded",)),
        ValueError("context_length_exceeded"),
        raised_while(TOO_LONG, hidden=True),
        Group(ValueError("x")),
    ],
    ids=repr,
)
def test_other_refusals_are_no_refusals_of_a_long_prompt(error):
    """Of words in a message nothing is read, and not of what was hidden on purpose."""
    assert too_long_in(error) is None


@pytest.mark.parametrize("outage", [LASTING[0], TRANSIENT[0], TRANSIENT[4]], ids=repr)
def test_an_outage_is_found_in_a_group(outage):
    """Also in one within another, and not if one of the group was merely being handled."""
    assert outage_in(Group(KeyError("x"), outage)) is outage
    assert outage_in(raised_from(Group(Group(raised_from(outage))))) is outage
    assert outage_in(Group(raised_while(outage))) is None


@pytest.mark.skipif(not hasattr(builtins, "ExceptionGroup"), reason="from Python 3.11 on")
def test_what_a_task_group_raises_is_looked_into():
    """The usual way to a group."""

    async def refuse():
        raise TOO_LONG

    async def asked():
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())

    with pytest.raises(BaseException, match="unhandled errors") as caught:
        asyncio.run(asked())
    assert too_long_in(caught.value) is TOO_LONG
