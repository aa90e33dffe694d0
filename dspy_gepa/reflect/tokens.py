"""How many tokens a text has, roughly, where nobody hands in a tokenizer."""

from __future__ import annotations

__all__ = ["estimated_tokens"]


def estimated_tokens(text: str) -> int:
    """About how many tokens the text has: one for every three bytes.

    For a tokenizer of today, prose in most scripts has fewer; JSON, digits, keys and rare scripts
    have up to two and a half times as many. For older ones many scripts have more.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)
