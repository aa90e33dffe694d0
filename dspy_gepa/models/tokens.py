"""How long texts are for a model, and how much it can read, by litellm's tables."""

from __future__ import annotations

from typing import Any

from dspy_gepa.models.catching import Failed, catching

__all__ = ["counted_tokens", "input_tokens_of"]


def counted_tokens(text: str) -> int:
    """The tokens of a text, by the tokenizer of OpenAI's models that litellm brings along.

    Our choice: it needs no download, and differs from other models' by a tenth or two.
    """
    import litellm  # noqa: PLC0415 - takes seconds, and many runs never need it

    return int(litellm.token_counter(model="", text=text))


def input_tokens_of(model: Any) -> int | None:
    """The longest prompt that a model takes; None if that is not known."""
    name = model if isinstance(model, str) else getattr(model, "model", None)
    if not isinstance(name, str):
        return None
    import litellm  # noqa: PLC0415 - see above

    if not {name, name.partition("/")[2]} & litellm.model_cost.keys():
        return None  # asked about an unknown model, litellm prints to the screen
    model_info = catching(lambda: litellm.get_model_info(name))
    return None if isinstance(model_info, Failed) else model_info.get("max_input_tokens")
