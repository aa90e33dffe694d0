"""How many tokens a text has, roughly, where nobody hands in a tokenizer."""

from __future__ import annotations

__all__ = ["estimated_tokens"]


def estimated_tokens(text: str) -> int:
    """About how many tokens the text has: one for every three bytes.

    Prose in most scripts has fewer; JSON, figures, emoji, keys and hashes have up to twice as many.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)
