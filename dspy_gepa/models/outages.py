"""Infrastructure failures, told apart from what a candidate did wrong.

A wrong key, an unknown model or a dead server says nothing about a text, so it is never a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import dspy
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMUnsupportedModelError,
    is_retryable_lm_error,
)

from dspy_gepa.errors import kinds_of

__all__ = ["Outage", "advice_on", "is_transient", "is_unmistakable", "outage_in", "too_long_in"]

_LASTING = (LMAuthError, LMBillingError, LMConfigurationError, LMUnsupportedModelError)
_OF_THE_REQUEST = (ContextWindowExceededError, LMInvalidRequestError)
"""What another example may not meet: servers say in many ways that a prompt is too long. Where all
meet it, the run stops because every example fails."""
_TRANSIENT_SDK_ERRORS = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "InternalServerError",
        "RateLimitError",
        "ServiceUnavailableError",
        "Timeout",
    }
)
_TOO_LONG = frozenset({"ContextWindowExceededError"})
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "request_too_large"})
"""What providers call it in their answers: OpenAI and those that answer as it does, Anthropic."""
_IN_BODY = ("code", "type")
_BUSY_SDK_ERRORS = frozenset({"RateLimitError"})
_LASTING_SDK_ERRORS = frozenset({"AuthenticationError", "NotFoundError", "PermissionDeniedError"})
_REFUSED_CONTENT = frozenset({"content_filter", "content_policy_violation"})
_NO_MODEL = ("No LM is loaded", "LM must be ")


class Outage(Exception):
    """A model or its server cannot be used; `__cause__` holds why. Never leaves the worker."""


def too_long_in(error: BaseException | None) -> BaseException | None:
    """This error, or one that led to it, if that refuses a prompt as too long; else None.

    A model of the user's own may let through what a client raises, and may also raise something
    else while it handles that: there is nothing to work around in a prompt that is too long.
    """
    return _first(error, _is_too_long, counts_handled=True)


def outage_in(error: BaseException | None) -> BaseException | None:
    """The infrastructure failure that this error is or was raised from; None if there is none.

    Exceptions that were merely being handled do not count: a program may have worked around them.
    """
    return _first(error, _is_outage)


def _first(
    error: BaseException | None,
    is_such: Callable[[BaseException], bool],
    *,
    counts_handled: bool = False,
) -> BaseException | None:
    """Of this error and those that led to it the first of this kind.

    Those are what it was raised from, what it is a group of and, if that counts, what was being
    handled when it was raised.
    """
    seen: set[int] = set()  # of errors that were raised from each other
    waiting = [error]
    while waiting:
        error = waiting.pop(0)
        if error is None or id(error) in seen:
            continue
        if is_such(error):
            return error
        seen.add(id(error))
        hidden = error.__suppress_context__ or not counts_handled
        waiting += [error.__cause__, *_grouped(error), None if hidden else error.__context__]
    return None


def _grouped(error: BaseException) -> list[BaseException]:
    """The errors that this one is a group of; Python 3.10 has groups from a package only."""
    parts = getattr(error, "exceptions", None)
    if not isinstance(parts, Sequence):
        return []
    return [part for part in parts if isinstance(part, BaseException)]


def _is_too_long(error: BaseException) -> bool:
    if isinstance(error, ContextWindowExceededError) or _comes_from_sdk(error, _TOO_LONG):
        return True
    return not _TOO_LONG_CODES.isdisjoint(_codes(error))


def _codes(error: BaseException) -> set[str]:
    """What the provider calls this error: in its own fields, or in the body of its answer."""
    body = getattr(error, "body", None)
    bodies = [body, body.get("error")] if isinstance(body, Mapping) else []
    found = [getattr(error, name, None) for name in ("code", "provider_code", "type")]
    found += [each.get(name) for each in bodies if isinstance(each, Mapping) for name in _IN_BODY]
    return {code for code in found if isinstance(code, str)}


def advice_on(error: BaseException) -> str:
    """What to do about it, a sentence with a space before it; empty if it says that itself."""
    if isinstance(error, LMBillingError):
        return " See what is left of the account's quota, then run again."
    if isinstance(error, LMRateLimitError) or _comes_from_sdk(error, _BUSY_SDK_ERRORS):
        return " Ask the server less at once, by a lower num_threads, or later, then run again."
    is_of_a_model = _comes_from_sdk(error, _TRANSIENT_SDK_ERRORS | _LASTING_SDK_ERRORS)
    if isinstance(error, LMError) or is_of_a_model:
        return (
            " Check the model's name, its key and that its server can be reached, then run again."
        )
    return ""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    is_retryable = isinstance(error, Exception) and is_retryable_lm_error(error)
    # What is of no other kind is mostly a reply that was cut off or garbled on its way.
    is_retryable = is_retryable or type(error) is LMProviderError
    return is_retryable or _comes_from_sdk(error, _TRANSIENT_SDK_ERRORS)


def is_unmistakable(error: BaseException) -> bool:
    """Whether it cannot come from what the model was asked."""
    return (
        isinstance(error, _LASTING)
        or is_transient(error)
        or _comes_from_sdk(error, _LASTING_SDK_ERRORS)
        or _lacks_a_model(error)
    )


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, LMError):
        is_of_the_request = isinstance(error, _OF_THE_REQUEST) and not isinstance(error, _LASTING)
        return not is_of_the_request and not _refuses_content(error)
    return is_unmistakable(error)


def _refuses_content(error: dspy.LMError) -> bool:
    """Whether the provider judged this one text, which another example may not trigger."""
    return error.provider_code in _REFUSED_CONTENT or _comes_from_sdk(
        getattr(error.__cause__, "__cause__", None), frozenset({"ContentPolicyViolationError"})
    )


def _comes_from_sdk(error: BaseException | None, names: frozenset[str]) -> bool:
    # By name: importing these packages takes seconds, and what is not imported was not raised.
    return any(
        kind.partition(".")[0] in ("openai", "litellm") and kind.rpartition(".")[2] in names
        for kind in kinds_of(error)
    )


def _lacks_a_model(error: BaseException) -> bool:
    # DSPy raises a plain ValueError where no LM, or none that can be called, is configured.
    return type(error) is ValueError and str(error).startswith(_NO_MODEL)
