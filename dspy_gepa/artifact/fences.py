"""A program in a fence of its language, where the program is what was asked for.

The reader of replies takes such a fence for an example that stands in a text, as in an instruction
it is. Of an artifact it is the artifact, where no other reading is possible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["with_plain_fences"]

_FENCED = re.compile(
    r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*[\w+.#-]+[ \t]*\n(.*?)^[ \t]{0,3}\1[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_FENCE = re.compile(r"^[ \t]{0,3}(?:`{3,}|~{3,})", re.MULTILINE)
_MARK = re.compile(r"</?(?:new_text|edit)")


def with_plain_fences(reply: str, current: Sequence[str]) -> str:
    """The reply with no language named on a fence that holds the whole answer.

    That is the only one of a reply without marks, or one that fills all between two marks. Texts
    that have fences themselves, such as Markdown, are left alone.
    """
    if any(map(_FENCE.search, current)):
        return reply
    is_alone = len(_FENCE.findall(reply)) == 2 and not _MARK.search(reply)

    def plain(found: re.Match[str]) -> str:
        before, after = reply[: found.start()].rstrip(), reply[found.end() :].lstrip()
        fills = before.endswith(">") and after.startswith("</")
        return f"{found[1]}\n{found[2]}{found[1]}" if is_alone or fills else found[0]

    return _FENCED.sub(plain, reply)
