"""Takes away what models say before their answer: reasoning, other channels, signs of a turn's end.

Each family writes it in its own way; a way is a pair of patterns here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

__all__ = ["around_later_thinking", "end_of_thinking", "without_thinking", "without_turn_ends"]


class _Way(NamedTuple):
    """How a family of models writes its reasoning."""

    begins: str
    ends: str
    """May use the groups of `begins`."""
    may_stand_later: bool = False
    """Whether it is taken away at the start of a line inside of other text too. Such a way has one
    group."""


_WAYS = (
    # DeepSeek, Qwen and many others.
    _Way(
        r"<(think|thinking|thought|thoughts|reasoning|scratchpad|analysis|reflection|seed:think)>",
        r"</\1>",
        may_stand_later=True,
    ),
    # Mistral, Kimi, Cohere and Gemma have signs of their own.
    _Way(r"\[(THINK)\]", r"\[/THINK\]", may_stand_later=True),
    _Way("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    _Way(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    _Way(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    _Way(r"<unused94>(?:thought\b)?", r"<unused95>"),
    # gpt-oss: all channels up to the last one, with its signs or, where a server drops them, not.
    _Way(
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b",
        r"<\|channel\|>final\b[^<\n]{0,40}(?:<\|constrain\|>\w{0,20})?<\|message\|>",
    ),
    _Way(r"(?:<\|start\|>assistant)?<\|channel\|>final\b", r"<\|message\|>"),
    _Way(r"analysis(?=\w{0,20}[A-Z\"'])", r"assistantfinal"),
    # Granite, and the program ollama.
    _Way(r"Here is my thought process:", r"Here is my response:"),
    _Way(r"Thinking\.\.\.\n", r"\.\.\.done thinking\."),
)
_PATTERNS = tuple((re.compile(rf"\s*{way.begins}", re.IGNORECASE), way) for way in _WAYS)
_LATER_WAYS = tuple(way for way in _WAYS if way.may_stand_later)
_LATER = re.compile(
    rf"^[ \t]*(?:{'|'.join(way.begins for way in _LATER_WAYS)})", re.IGNORECASE | re.MULTILINE
)
_END = r"(?:</think(?:ing)?>|\[/THINK\])"
_TAG = re.compile(
    rf"(?P<begins><think(?:ing)?>|\[THINK\])|(?P<at_edge>^[ \t]*{_END}|{_END}[ \t]*$)|{_END}",
    re.IGNORECASE | re.MULTILINE,
)
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|return|end|endoftext|end_of_text|end_of_turn|END_RESPONSE)\|>"
    r"|<end_of_turn>|</s>\s*\Z|<\uff5cend\u2581of\u2581sentence\uff5c>"
)
_TURN_BEGINS = re.compile(
    r"\s*(?:<s>|<\|begin_of_text\|>|<\|(?:im_start|start)\|>\s*assistant\b(?!<\|channel)|"
    r"<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model\b|"
    r"<\|START_RESPONSE\|>)\s*"
)


def without_thinking(reply: str) -> str | None:
    """The reply after the reasoning with which it begins; None where it ends within that."""
    reply = reply[_end_of(_TURN_BEGINS, reply) :]
    while found := _first(reply):
        begins, way = found
        ends = _end_of_thinking(reply, begins, way)
        if ends is None:
            # Only a word: a channel's name without its signs is a word of the language too.
            return reply if way.begins.startswith("analysis") else None
        reply = reply[ends:]
        reply = reply[_end_of(_TURN_BEGINS, reply) :]
    return reply


def end_of_thinking(reply: str) -> re.Match[str] | None:
    """Where reasoning ends that the server opened, so that only its closing tag came back."""
    opened = 0
    for tag in _TAG.finditer(reply):
        if tag["begins"]:
            opened += 1
        elif opened:
            # A text that speaks of both tags has neither of them from the server.
            opened -= 1
        elif tag["at_edge"]:
            return tag
    return None


def around_later_thinking(answer: str, kept: Collection[tuple[int, int]] = ()) -> list[str] | None:
    """The pieces of a reply without the reasoning in its middle; None where that never ends.

    Args:
        answer: The reply, after the reasoning with which it begins.
        kept: Start and end of stretches in which nothing is taken for reasoning.
    """
    pieces: list[str] = []
    done = 0
    while begins := _LATER.search(rest := answer[done:]):
        place = done + begins.start()
        end_of_kept = next((end for start, end in kept if start <= place < end), None)
        if end_of_kept is not None:
            pieces.append(answer[done:end_of_kept])
            done = end_of_kept
            continue
        ends = _end_of_thinking(rest, begins, _LATER_WAYS[(begins.lastindex or 1) - 1])
        if ends is None:
            return None
        pieces.append(rest[: begins.start()])
        done += ends
    return [*pieces, answer[done:]]


def without_turn_ends(answer: str) -> str:
    """The reply up to the first sign that a model ends its turn; nothing after it is meant."""
    ends = _TURN_END.search(answer)
    return answer if ends is None else answer[: ends.start()]


def _first(reply: str) -> tuple[re.Match[str], _Way] | None:
    for pattern, way in _PATTERNS:
        if begins := pattern.match(reply):
            return begins, way
    return None


def _end_of_thinking(reply: str, begins: re.Match[str], way: _Way) -> int | None:
    """Where the reasoning ends that begins here; None where the reply ends before."""
    pattern = re.sub(r"\\1", lambda _: re.escape(begins[1]), way.ends)
    ends = re.compile(pattern, re.IGNORECASE).search(reply, begins.end())
    return None if ends is None else ends.end()


def _end_of(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return 0 if found is None else found.end()
