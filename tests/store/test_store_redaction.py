"""Secrets: what must not reach a disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.store.redaction import Redactor, public

KEY = "sk-proj-abcDEF0123456789abcDEF"


def test_settings_without_secrets_are_kept():
    """Names and parameters of models are what a record of a run is for."""
    settings = {
        "model": "openai/gpt-4o-mini",
        "max_tokens": 4000,
        "temperature": 0.7,
        "tokenizer": "o200k",
        "cache": True,
        "stop": ["\n\n"],
        "monkey": "see",
        "response_format": {"type": "json_object"},
        "api_base": "http://127.0.0.1:8080/v1",
        "seed": None,
    }
    assert public(settings) == settings


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apiKey",
        "OPENAI_API_KEY",
        "apikey",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "vertex_credentials",
        "Authorization",
        "extra_headers",
        "http-headers",
        "password",
        "db.passwd",
        "client_secret",
        "bearer",
    ],
)
def test_names_of_secrets_are_left_out(name):
    """With whatever they hold, at any depth."""
    assert public({name: "x", "model": "m"}) == {"model": "m"}
    assert public({"more": [{name: {"a": "x"}}]}) == {"more": [{}]}


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"use {KEY} please",
        "Bearer abcdefgh12345678",
        "hf_abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrst0123",
        "AIzaSyA-abcdefghijklmnopqrst",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_123",
        "https://user:abcdefgh12345678@host/v1",
        "https://host/v1?sig=abcdefgh12345678",
    ],
)
def test_what_looks_like_a_secret_is_removed(text):
    """A key does not pass under an innocent name."""
    shown = str(public({"note": text, "list": [text], "inner": {"note": text}}))
    assert not any(part in shown for part in (KEY[8:], "abcdefgh", "eyJ", "12345678"))


def test_only_plain_values_are_shown():
    """A function or a client may hold anything, so it is left out."""
    assert public({"call": print, "object": object(), "list": [print, 1]}) == {"list": [1]}


def test_a_known_secret_is_taken_out_of_any_text():
    """Also as JSON writes it, and where one secret begins with another."""
    redact = Redactor({"a": KEY, "b": KEY + "more", "c": 'with "quotes" in it', "d": "short"})
    hidden = redact.hidden_text(f"a {KEY}more b {KEY} short")
    assert hidden == "a [secret:b] b [secret:a] short"
    assert redact.hidden_text(r"with \"quotes\" in it") == "[secret:c]"
    assert Redactor().hidden_text(KEY) == KEY


VALUES = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.text("[secrt:]abc.1", max_size=30),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(st.text("[secrt:]ab", max_size=9), items, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_hidden_is_shown_again(value):
    """To the character, also texts that look like references; with other names in between."""
    redact = Redactor({"a.b": "secret", "a-c": "cbacba", "y": "333333333"})
    hidden = redact.hidden(value)
    assert redact.shown(hidden) == value
    assert "cbacba" not in str(hidden)


def test_numbers_are_no_texts():
    """A secret of figures does not break a number that has the same ones."""
    redact = Redactor({"pin": "3333333333"})
    assert redact.hidden({"a": 0.33333333333333337, "b": "3333333333"}) == {
        "a": 0.33333333333333337,
        "b": "[secret:pin]",
    }


def test_what_is_not_known_stays_a_reference():
    """Somebody else reads the text without it; two names that become one lead nowhere."""
    written = Redactor({"key one": KEY}).hidden(f"a {KEY}")
    assert written == "a [secret:key_one]"
    assert Redactor({"other": KEY}).shown(written) == written
    ambiguous = Redactor({"key one": KEY, "key_one": KEY[::-1]})
    assert ambiguous.shown(written) == written
