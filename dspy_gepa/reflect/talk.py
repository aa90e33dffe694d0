"""What models write around an instruction, or in place of one: announcements, remarks, refusals.

English mostly, as our request is. What is not recognised stays in the text.
"""

from __future__ import annotations

import re

__all__ = [
    "is_announcement",
    "is_refusal",
    "is_talk",
    "without_announcements",
    "without_quotes",
    "without_talk",
]


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


_MARKUP = r"[*_#>`\s]*"
_KIND = _any(
    "new",
    "improved?",
    "updated?",
    "revised?",
    "rewritten",
    "refined",
    "final",
    "better",
    "optimi[sz]ed",
    "enhanced",
    "complete",
    "full",
    "modified",
    "corrected",
)
_NOUN = _any("instructions?", "prompts?")
_YES = _any(
    "sure(?: thing)?",
    "certainly",
    "of course",
    "okay",
    "ok",
    "absolutely",
    "great",
    "understood",
    "yes",
)
_HERE = _any(
    "here(?:'s| is| are)",
    "below (?:is|are)",
    "this is",
    "the following is",
    r"i(?:'ve| have) \w+",
)
_NAMED = _any(rf"{_KIND} (?:\w+ )?{_any(_NOUN, 'version', 'text')}", _NOUN)
_ANNOUNCEMENT = re.compile(
    _MARKUP
    + _any(
        rf"(?:{_YES}[,.!]\s+)?{_HERE}\b[^\n:.]{{0,80}}\b{_NAMED}\b[^\n:.]{{0,80}}[*_]*:",
        rf"(?:the |your |my )?(?:{_KIND} )+(?:\w+ )?{_NOUN}[*_]*:",
        rf"(?:the |your |my )?(?:{_KIND} )+(?:\w+ )?{_NOUN}{_MARKUP}(?:\n|$)",
        r"instruction[*_]*:",
        rf"{_YES}[.!](?=\s|$)",
        # "Here is the improved instruction:" as other languages begin it.
        r"(?:hier ist|voici|aqu[ií] (?:est[aá]|tienes)|ecco|вот|以下是|这是|以下[がは]|これが)"
        r"[^\n:：.。]{0,100}[:：]",
    )
    + r"[*_]*\s*",
    re.IGNORECASE,
)
_CLOSER = re.compile(
    _any(
        r"let me know\b",
        r"i hope\b",
        r"feel free\b",
        r"would you like\b",
        rf"(?:this|these|the) (?:{_KIND} )*{_any(_NOUN, 'version', 'changes?')} (?:\w+ )?"
        r"(?:should|will|aims?|ensures?|address(?:es)?|provides?|clarif\w+|is designed|now)\b",
        r"(?:key |main )?(?:changes|improvements)(?: made)?\b[^\n:]{0,40}:",
        r"what (?:i |has )?changed\b[^\n:]{0,40}:",
        # Without such a word it may be the form in which the step is to answer.
        r"(?:explanation|rationale)\b[^\n:]{0,40}:[^\n]*\n?[^\n]*\b(?:i|instruction|feedback)\b",
    ),
    re.IGNORECASE,
)
_TALK = re.compile(
    r"(?:(?:okay|ok|alright|hmm|well|so|first|now|yes)[,.!]*\s+)*"
    + _any(
        r"let me\b",
        r"let's (?:analy|look|see\b|start|break|rewrite|review|go\b)",
        r"(?:i|we)(?:'ve|'ll|'m| have| will| need to| should| can| am)? (?:\w+ly )?"
        r"(?:analy|review|improv|rewr|look|revis|updat|notic|see that|combin|added|adding)",
        r"(?:based on|looking at|after (?:reviewing|analy[sz]ing)|from|given) the (?:\w+ )?"
        r"(?:feedback|examples?|evaluation|analysis|evidence)\b",
        r"to improve (?:the|this)\b",
        r"the (?:current|given|original|existing|old) (?:instruction|prompt)",
        r"the feedback\b",
        r"the examples? shows?\b",
        r"the (?:\w+ )?(?:step|model|assistant) (?:failed|made|misse[sd]|got|was)\b",
    ),
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    _any(
        r"(?:i'm|i am) (?:very |so )?(?:sorry|afraid|unable|not able)\b",
        r"(?:sorry|apologies)\b[,.!]",
        r"my apologies\b",
        r"(?:unfortunately,? )?i (?:can't|cannot|can not|won't|will not|don't|do not|am unable to) "
        r"(?:help|assist|provide|do|write|create|fulfil|comply|generate|rewrite|improve|have)\b",
        r"as an ai\b",
    ),
    re.IGNORECASE,
)
_LONGEST_REFUSAL = 600
"""Characters: an instruction may begin with such words, but then goes on."""
_LONGEST_REMARK = 400
"""Characters of a paragraph that are looked at: long texts must not take long."""
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_QUOTES = (
    ('"""', '"""'),
    ("'''", "'''"),
    ("```", "```"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("\u201c", "\u201d"),
    ("\u201e", "\u201c"),
    ("\u00ab", "\u00bb"),
    ("\u300c", "\u300d"),
)


def is_announcement(text: str) -> bool:
    """Whether nothing follows after the announcements ("Here is the improved instruction:")."""
    return bool(text.strip()) and not without_announcements(text)


def is_talk(text: str) -> bool:
    """Whether the text begins to speak about the instruction ("Looking at the feedback, ...")."""
    return _TALK.match(_bare(text)) is not None


def is_refusal(text: str) -> bool:
    """Whether the text says no ("I'm sorry, but I can't help with that")."""
    return len(text) <= _LONGEST_REFUSAL and _REFUSAL.match(_bare(text)) is not None


def without_announcements(text: str) -> str:
    """The text without the announcements before it; stripped."""
    rest = text.strip()
    while found := _ANNOUNCEMENT.match(rest.replace("\u2019", "'")):
        rest = rest[found.end() :]
    return rest.strip()


def without_talk(text: str) -> str:
    """The text without announcements before it and remarks about it after it; stripped."""
    rest = without_announcements(text)
    for gap in _PARAGRAPHS.finditer(rest):
        if _CLOSER.match(_bare(rest[gap.end() : gap.end() + _LONGEST_REMARK])):
            return rest[: gap.start()].rstrip()
    return rest


def without_quotes(text: str) -> str:
    """The text without the one pair of quotes around all of it, if there is one; stripped."""
    bare = text.strip()
    for opening, closing in _QUOTES:
        if bare.startswith(opening) and bare.endswith(closing):
            inner = bare[len(opening) : -len(closing)]
            if closing not in inner.replace("\\" + closing, "") and inner.strip():
                return inner.strip()
    return bare


def _bare(text: str) -> str:
    """The text without markup before it, with plain apostrophes."""
    return text.lstrip("*_#>-=`\"' \t\n").replace("\u2019", "'")
