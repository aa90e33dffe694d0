"""Secrets: what must not reach a disk."""

import pytest

from dspy_gepa.store.secret import Redactor, public

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
    redact = Redactor([KEY, KEY + "more", 'with "quotes" in it', "short"])
    assert redact(f"a {KEY}more b {KEY} short") == "a [removed] b [removed] short"
    assert redact(r"with \"quotes\" in it") == "[removed]"
    assert Redactor()(KEY) == KEY
