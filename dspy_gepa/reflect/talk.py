"""What models write around an instruction, or in place of one: announcements, remarks, refusals.

English mostly, as our request is. What is not recognised stays in the text.
"""

from __future__ import annotations

import re

__all__ = [
    "is_announcement",
    "is_refusal",
    "is_remark",
    "is_request",
    "is_talk",
    "without_announcements",
    "without_quotes",
    "without_talk",
]


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


_MARKUP = r"[*_#>`\s]*"
_REWRITTEN = _any(
    "new",
    "improved",
    "updated",
    "revised",
    "rewritten",
    "refined",
    "better",
    "optimi[sz]ed",
    "enhanced",
    "modified",
)
_KIND = _any(_REWRITTEN, "improve", "update", "revise", "final", "complete", "full", "corrected")
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
_FOREIGN_YES = r"gerne|natürlich|bien sûr|claro|por supuesto|конечно|好的|当然|はい|もちろん|네"
_FOREIGN_HERE = (
    r"hier ist|voici|aqu[ií] (?:est[aá]|tienes)|ecco|вот|以下是|这是|下面是|以下[がはに]|これが"
    r"|こちらが|다음은|إليك|فيما يلي"
)
_FOREIGN_NAME = (
    r"(?:die |la |a |l')?(?:(?:neue|verbesserte|überarbeitete) (?:anweisung|anleitung)"
    r"|nueva instrucción|instrucción (?:mejorada|nueva|revisada)"
    r"|(?:nouvelle instruction|instruction améliorée|consigne améliorée)"
    r"|(?:nova instrução|instrução (?:melhorada|nova))|(?:nuova istruzione|istruzione migliorata)"
    r"|(?:новая|улучшенная|обновл[её]нная) инструкция)"
    r"|(?:新的?|改进后?的?|优化后?的?|更新后?的?|完整的?)+(?:指令|提示词?|说明)"
    r"|(?:新しい|改善された|改善後の|更新された)(?:指示|プロンプト)文?"
    r"|(?:새로운|개선된) (?:지침|지시(?:문|사항)?|프롬프트)|التعليمات (?:الجديدة|المحسنة|المحسّنة)"
)
_ANNOUNCEMENT = re.compile(
    _MARKUP
    + _any(
        rf"(?:{_YES}[,.!]\s+)?{_HERE}\b[^\n:.]{{0,80}}\b{_NAMED}\b[^\n:.]{{0,80}}[*_]*:",
        rf"(?:the |your |my )?(?:{_KIND} )+(?:\w+ )?{_NOUN}[*_]*:",
        rf"(?:the |your |my )?(?:{_KIND} )+(?:\w+ )?{_NOUN}{_MARKUP}(?:\n|$)",
        r"instruction[*_]*:",
        rf"{_YES}[.!](?=\s|$)",
        r"assistant[*_]*:",
        r"(?:final answer|(?:system )?prompt)[*_]*:?[*_]*[ \t]*\n",
        # The same as other languages begin it.
        rf"(?:{_FOREIGN_YES})?[,.!，。！、 ]*(?:{_FOREIGN_HERE})[^\n:：.。]{{0,100}}[:：]",
        rf"(?:{_FOREIGN_NAME})[*_]*\s?[:：]",
    )
    + r"[*_]*\s*",
    re.IGNORECASE,
)
_CLOSER = re.compile(
    _any(
        r"(?:please,? )?(?:do )?let me know\b",
        r"i hope\b",
        r"feel free\b",
        r"would you like\b",
        rf"(?:this|these|the) (?:{_KIND} )*{_any(_NOUN, 'version', 'changes?')} (?:\w+ )?"
        r"(?:should|will|aims?|ensures?|address(?:es)?|provides?|clarif\w+|is designed|now)\b",
        r"(?:key |main )?(?:changes|improvements)(?: made)?\b[^\n:]{0,40}:",
        r"what (?:i |has )?changed\b[^\n:]{0,40}:",
        r"希望(?:这|以上)|如果(?:您|你)(?:还|有|需)|如有(?:需要|任何)|请告诉我",
        r"ich hoffe\b|espero que\b|j'esp[eè]re\b|надеюсь\b|дайте (?:мне )?знать",
        # Without such a word it may be the form in which the step is to answer.
        r"(?:explanation|rationale|notes?)\b[^\n:]{0,40}:[^\n]*\n?[^\n]*\b(?:i|instruction|feedback)\b",
    ),
    re.IGNORECASE,
)
_AFTERWORD = re.compile(
    _any(
        r"(?:i|we)\b",
        r"(?:explanation|rationale|reasoning|summary|notes?)\b",
        r"(?:key |main )?(?:changes|improvements)\b",
        r"(?:done|thanks?)\b",
    ),
    re.IGNORECASE,
)
"""Only after an answer that has an end: a text may go on so itself."""
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
_REQUEST = re.compile(
    r"(?:(?:given|based on|using|from|considering|with)\b[^.\n]{0,160}?,\s*)?"
    r"(?:please |(?:your|the) (?:task|job|goal) is to |you (?:need|have|are asked|are required) to "
    r"|you (?:should|must|will) )?"
    r"(?:(?:re)?write|generate|create|produce|provide|draft|craft|develop|formulate)\s+"
    r"(?:(?:an?|the|one|your)\s+)?"
    rf"{_REWRITTEN}(?: \w+)? {_NOUN}\b",
    re.IGNORECASE,
)
_DENIAL = _any(
    "i (?:can't|cannot|can not|won't|will not|don't|do not|may not|must not)",
    "i (?:must|have to) decline",
    "(?:i'm|i am) (?:unable|not|only|just|designed|programmed|trained)",
    "it(?:'s| is) (?:not|against)",
    "my (?:purpose|guidelines|programming|training)",
)
_REFUSAL = re.compile(
    _any(
        r"(?:i'm|i am) (?:very |so )?(?:sorry|afraid|unable|not able)\b",
        # Without more it may be a reply that the step is to give.
        r"(?:sorry|apologies)\b[,.!]\s*"
        r"(?:\Z|(?:but|i|can't|cannot|not|unable|this|that|your|as an ai)\b)",
        r"my apologies\b",
        r"(?:unfortunately,? )?i (?:can't|cannot|can not|won't|will not|don't|do not|am unable to) "
        r"(?:help|assist|provide|do|write|create|fulfil|comply|generate|rewrite|improve|have)\b",
        # Without a denial it is a role.
        r"as an ai\b(?:[^,.\n]{0,60},|(?: (?:language )?model| assistant)?) (?:unfortunately,? )?"
        rf"{_DENIAL}\b",
        r"(?:es tut mir leid|lo siento|(?:je suis )?désolée?|desculpe|mi dispiace|извините)\b[,.!]",
        r"к сожалению\b,? я\b",
        r"(?:很抱歉|抱歉|对不起)[，,。！]|申し訳(?:ありません|ございません)(?:が|。|、)",
        r"죄송(?:합니다|하지만)|عذر[اًا]+[،,]",
    ),
    re.IGNORECASE,
)
_LONGEST_REFUSAL = 600
"""Characters: an instruction may begin with such words, but then goes on."""
_LONGEST_REMARK = 400
"""Characters of a paragraph that are looked at: long texts must not take long."""
_RULE_BEFORE = re.compile(r"(?:-{3,}|\*{3,}|={3,}|_{3,})[ \t]*\n")
_RULE_AFTER = re.compile(r"\n[ \t]*(?:-{3,}|\*{3,}|={3,}|_{3,})\Z")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_QUOTES = (
    ('"""', '"""'),
    ("'''", "'''"),
    ("```", "```"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("**", "**"),
    ("\u201c", "\u201d"),
    ("\u201e", "\u201c"),
    ("\u00ab", "\u00bb"),
    ("\u300c", "\u300d"),
)


def is_announcement(text: str) -> bool:
    """Whether nothing follows after the announcements ("Here is the improved instruction:")."""
    return bool(text.strip()) and not without_announcements(text)


def is_talk(text: str, *, current: str = "") -> bool:
    """Whether the text begins to speak about the instruction ("Looking at the feedback, ...").

    Words with which the current text begins too are no sign of it.
    """
    return _begins(_TALK, text, current)


def is_refusal(text: str, *, current: str = "") -> bool:
    """Whether the text says no ("I'm sorry, but I can't help with that").

    Words with which the current text begins too are no sign of it.
    """
    return len(text) <= _LONGEST_REFUSAL and _begins(_REFUSAL, text, current)


def is_request(text: str, *, current: str = "") -> bool:
    """Whether the text asks for an instruction in place of being one ("Write a new instruction").

    Small models say their own task again. Where the current text speaks of instructions or
    prompts too, they are what the program is about.
    """
    is_about_them = re.search(_NOUN, current, re.IGNORECASE)
    return not is_about_them and _REQUEST.match(_bare(text)) is not None


def is_remark(text: str) -> bool:
    """Whether the text, which follows an answer, adds nothing to it ("I hope this helps")."""
    begins = _bare(text)[:_LONGEST_REMARK]
    said = any(map(str.isalnum, text))
    return not said or any(one.match(begins) for one in (_CLOSER, _AFTERWORD, _TALK))


def without_announcements(text: str) -> str:
    """The text without the announcements before it; stripped."""
    rest = text.strip()
    while found := _ANNOUNCEMENT.match(rest.replace("\u2019", "'")):
        rest = rest[found.end() :]
    return rest.strip()


def without_talk(text: str) -> str:
    """The text without announcements before it and remarks about it after it; stripped."""
    rest = _without_rules(without_announcements(text))
    for gap in _PARAGRAPHS.finditer(rest):
        if _CLOSER.match(_bare(rest[gap.end() : gap.end() + _LONGEST_REMARK])):
            return _without_rules(rest[: gap.start()])
    return rest


def without_quotes(text: str) -> str:
    """The text without the one pair of quotes around all of it, if there is one; stripped."""
    bare = text.strip()
    if all(line.startswith(">") for line in bare.split("\n")):
        return "\n".join(line[1:].removeprefix(" ") for line in bare.split("\n")).strip()
    for opening, closing in _QUOTES:
        if bare.startswith(opening) and bare.endswith(closing):
            inner = bare[len(opening) : -len(closing)]
            if closing not in inner.replace("\\" + closing, "") and inner.strip():
                return inner.strip()
    return bare


def _without_rules(text: str) -> str:
    """The text without the lines of dashes before and after it; stripped."""
    rest = text.strip()
    if rule := _RULE_BEFORE.match(rest):
        rest = rest[rule.end() :]
    return _RULE_AFTER.sub("", rest).strip()


def _begins(pattern: re.Pattern[str], text: str, current: str) -> bool:
    """Whether the text begins so, and the current one does not begin with the same words."""
    found = pattern.match(_bare(text))
    return found is not None and not _bare(current).casefold().startswith(found[0].casefold())


def _bare(text: str) -> str:
    """The text without markup before it, with plain apostrophes."""
    return text.lstrip("*_#>-=`\"' \t\n").replace("\u2019", "'")
