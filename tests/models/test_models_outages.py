"""What is the infrastructure's fault, and what is the candidate's."""

from __future__ import annotations

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
