"""A short way to ask a small model: the instruction, the message, and one line for each answer.

DSPy's own adapters spend more tokens on their marks than these tasks on everything else, and a
model of 1.5 B that computes on one core pays for each. A program that is wrapped in `Lines` asks
this way, whatever adapter is set around it; a reflection LM is asked as ever.
"""

from __future__ import annotations

from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

__all__ = ["LineAdapter", "Lines"]


class LineAdapter(dspy.Adapter):  # type: ignore[misc]  # DSPy is untyped here
    """`field: value`, one a line, for what goes in and for what comes back."""

    def format_system_message(self, signature: Any) -> str:
        """The instruction, and the lines in which to answer."""
        lines = "\n".join(f"{name}: ..." for name in signature.output_fields)
        return f"{signature.instructions}\n\nReply in these lines:\n{lines}"

    def format_user_message_content(
        self,
        signature: Any,
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,  # noqa: FBT001, FBT002 - DSPy's own parameter
    ) -> str:
        """The inputs."""
        del main_request
        lines = [f"{name}: {inputs[name]}" for name in signature.input_fields if name in inputs]
        return "\n".join(filter(None, (prefix, *lines, suffix)))

    def format_assistant_message_content(
        self, signature: Any, outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        """The outputs of a demonstration."""
        return "\n".join(
            f"{name}: {outputs.get(name, missing_field_message)}"
            for name in signature.output_fields
        )

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """The outputs.

        Raises:
            AdapterParseError: a field has no line of its own.
        """
        values: dict[str, str] = {}
        for line in completion.splitlines():
            name, colon, value = line.partition(":")
            if colon and (name := name.strip().lower()) in signature.output_fields:
                values.setdefault(name, value.strip())
        if values.keys() != signature.output_fields.keys():
            raise AdapterParseError(
                adapter_name="LineAdapter",
                signature=signature,
                lm_response=completion,
                parsed_result=values,
            )
        return values


_ADAPTER = LineAdapter()


class Lines(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """A program of one predictor, asked by `LineAdapter`."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature)

    def forward(self, **inputs: Any) -> Any:
        """The prediction for one message."""
        with dspy.context(adapter=_ADAPTER):
            return self.answer(**inputs)
