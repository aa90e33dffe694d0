"""Finds the placeholders in a text that some code fills in later: {question}, {{name}}, $name.

They are written as in `str.format`, Jinja, `string.Template` and the % operator, or as <<name>>.
"""

from __future__ import annotations

import re

__all__ = ["placeholders", "unknown_placeholders"]

_NAME = r"[A-Za-z_][\w.]*(?:\[[^\[\]{}\n]*\][\w.]*)*"
_REST = (
    r"(?:![rsa])?"
    # A number behind the colon is a value, {a:1} in JavaScript, and so is all after a space.
    r"(?::(?!-?(?:0|[1-9]\d*|\d+\.\d+)?\})(?:%[A-Za-z][^{}\n]*"
    r"|(?:[^{}\s]?[<>=^])?[+-]?#?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?))?"
    r"\}(?!\})"
)
"""Conversion and format of a field of `str.format`, and its end."""
_FORMS = (
    re.compile(r"(?<!\{)\{\{\s*" + _NAME + r"(?:\s*\|[^{}\n]*|\s*)\}\}(?!\})"),
    # After a word, a backslash or a bracket it is LaTeX, a format or code: \frac{a}{b}, f{x}.
    re.compile(r"(?<![\w\\{}\])$^])\{" + _NAME + _REST),
    # After a dot as well a number says how often something is repeated, in a regular expression.
    re.compile(r"(?<![\w\\{}\])$^.])\{\d{1,2}" + _REST),
    # After a number it is a percentage.
    re.compile(r"(?<![\w%])%\([A-Za-z_]\w*\)[+#-]?\d*(?:\.\d+)?[diouxXeEfFgGcrsa]"),
    re.compile(r"<<[A-Za-z_]\w*>>"),
    re.compile(r"(?<![\w\\$])\$\{[A-Za-z_]\w*\}"),
    # A sum of money begins with a digit; a single letter, or a name with signs and a dollar after
    # it, is a formula.
    re.compile(
        r"(?<![\w\\$])\$[A-Za-z_]\w+(?![\w$]|[^\n$]{0,40}[=+*/^<>\\-][^\n$]{0,40}\$(?![A-Za-z_{]))"
    ),
)
_CODE = re.compile(
    r"^[ \t]{0,3}(`{3,})[ \t]*(?!(?:text|txt|plain|plaintext|markdown|md)?[ \t]*$)[^`\n]+\n"
    r".*?^[ \t]{0,3}\1",
    re.MULTILINE | re.DOTALL,
)
"""A fence with the name of a language, in which braces and dollars are that language's own."""


def placeholders(text: str) -> tuple[str, ...]:
    """Every placeholder, once, in order of its form and then of its first place.

    Braces of JSON and LaTeX, sums of money and what stands in fenced code are none.
    """
    prose = _CODE.sub("", text)
    names = (place[0] for form in _FORMS for place in form.finditer(prose))
    return tuple(dict.fromkeys(names))


def unknown_placeholders(old: str, new: str) -> tuple[str, ...]:
    """Placeholders of the new text alone, in forms that the old one uses.

    Our choice: where the old text has none of a form, nobody fills it in, so nothing can fail by
    it, and an instruction may well describe a format as {day}-{month}.
    """
    known = placeholders(old)
    used = [form for form in _FORMS if any(form.fullmatch(one) for one in known)]
    return tuple(
        one
        for one in placeholders(new)
        if one not in known and any(form.fullmatch(one) for form in used)
    )
