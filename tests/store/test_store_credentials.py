"""Secrets are found wherever they are reached from."""

import base64
import functools
from pathlib import Path

import dspy
import pytest
from scripted_engine import scripted_lm

from dspy_gepa.store.credentials import credentials
from dspy_gepa.store.redaction import Redactor

KEY = "0123456789abcdef-the-key"
GLOBAL_LM = dspy.LM("openai/x", api_key=f"global-{KEY}")


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "OPENAI_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_AD_TOKEN",
        "DB_PASSWORD",
        "MY_SERVICE_CREDENTIALS",
        "GITHUB_TOKEN",
        "huggingface_token",
        "BasicAuth",
        "PGPASSWORD",
        "AUTHTOKEN",
        "GITHUB_PAT",
        "STRIPE_SK",
        "SSH_PASSPHRASE",
        "SLACK_WEBHOOK",
        "SIGNING_PRIVATE",
        "DB_PW",
        "APP_CREDS",
        "SENTRY_DSN",
        "WALLET_MNEMONIC",
    ],
)
def test_the_environment_is_read_by_names(name):
    """Any name that says what it is."""
    assert credentials({name: KEY, "HOME": "/home/somebody"}) == {name: KEY}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", KEY),
        ("MAX_TOKENS", KEY),
        ("API_KEY", "not-needed"),
        ("MONKEY", KEY),
        ("COMPASS", KEY),
        ("PATH", KEY),
        ("ADDRESS", f"https://host/?page={KEY}"),
        ("LANG", "C"),
        ("PWD", str(Path(__file__).parent)),
    ],
)
def test_what_is_no_secret_is_left(name, value):
    """By its name, or because it stands in for one."""
    assert credentials({name: value}) == {}


DRAWN = {
    "figures and small letters": "9f86d081884c7d659a2feaa0c55ad015",
    "all kinds": "wJalrXUtnFEMI4K7MDENGbPxRfiCYz6EXAMPL3",
    "with signs": "Xk9/pL2mQ8vR4tY7wZ1aB3+dE5fG6hJ0nS==",
    "after a mark": "v1.2aF9kQ7xZ3mT8wR5yB1cD4eG6hJ",
    "in lines": "-----BEGIN-----\nMIIEvQ1BADANBg9kqhkiG4w0BAQ\n-----END-----",
}
ORDINARY = {
    "a model": "openai/gpt-4o-mini-2024-07-18",
    "another model": "anthropic.claude-3-5-sonnet-20241022-v2:0",
    "a version": "cpython-3.11.9+20240415-x86_64-unknown-linux-gnu",
    "a UUID": "123e4567-e89b-12d3-a456-426614174000",
    "a long name": "MyVeryLongServiceNameForProduction2",
    "a date": "20261129T064500Z20261129T0645",
    "an address": "https://internationalization.example.com/v1",
    "a flag": "--max-old-space-size=4096000000000000000",
    "words": "internationalization and localization",
    "figures": "123456789012345678901234567890",
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_looks_drawn_at_random_is_one_in_the_environment(name):
    """Whatever its name is."""
    assert DRAWN[name] in credentials({"FLOWER": DRAWN[name]}).values()


@pytest.mark.parametrize("name", ORDINARY)
def test_what_somebody_chose_is_none(name):
    """Names, versions, dates and numbers stand in other texts too."""
    assert credentials({"FLOWER": ORDINARY[name]}) == {}


def test_an_address_with_a_password_is_one():
    """In every form in which a server or a client repeats it."""
    found = set(credentials({"PROXY_URL": "http://me:p%40ss9word@host:80/v1"}).values())
    basic = base64.b64encode(b"me:p@ss9word").decode()
    assert found == {"me:p%40ss9word", "me:p@ss9word", basic, "p%40ss9word", "p@ss9word"}


@pytest.mark.parametrize(
    "value",
    ["https://host/v1?api_key={}", "https://host/?a=1&sig={}#top", "Endpoint=sb://x/;SharedKey={}"],
)
def test_a_part_of_an_address_or_of_a_connection_is_one(value):
    """Under whatever name the whole stands."""
    assert list(credentials({"SERVICE": value.format(KEY)}).values()) == [KEY]
    assert list(credentials({}, {"root": Judge(value.format(KEY))}).values()) == [KEY]


def judge_by_global(gold, pred):
    def inner():
        return GLOBAL_LM

    return inner()


def judge_by_closure():
    lm = dspy.LM("openai/x", api_key=KEY)

    def judge(gold, pred):
        return lm

    return judge


class Judge:
    """A metric that holds its model, in one of many ways."""

    def __init__(self, lm):
        self.lm = lm

    def __call__(self, gold, pred):
        return self.lm

    def method(self, gold, pred):
        return self.lm


class OfClass:
    api_key = KEY

    def __call__(self, gold, pred):
        return 0.0


class Slotted:
    __slots__ = ("token",)

    def __init__(self):
        self.token = KEY


class Client:
    def __init__(self):
        self._secret_value = KEY


def keyed(**settings):
    return dspy.LM("openai/x", **settings)


def bound():
    program = dspy.ChainOfThought("question -> answer")
    program.set_lm(keyed(api_key=KEY))
    return program


@pytest.mark.parametrize(
    "root",
    [
        keyed(api_key=KEY),
        keyed(aws_secret_access_key=KEY),
        keyed(extra_headers={"Authorization": f"Bearer {KEY}"}),
        keyed(extra_headers={"X-Team": KEY}),
        keyed(headers={"x": {"y": KEY}}),
        bound(),
        judge_by_closure(),
        Judge(keyed(api_key=KEY)),
        Judge(keyed(api_key=KEY)).method,
        functools.partial(Judge(keyed(api_key=KEY)), pred=None),
        lambda gold, pred, lm=keyed(api_key=KEY): lm,  # noqa: B008 - that is the case
        functools.partial(lambda key, gold, pred: 0.0, keyed(api_key=KEY)),
        functools.wraps(judge_by_global)(judge_by_closure()),
        OfClass(),
        Slotted(),
        Judge(Client()),
        [{"deep": (Judge(keyed(api_key=KEY)),)}],
        keyed(api_base=f"https://{KEY}:x@host"),
        keyed(auth=("somebody", KEY)),
        Judge({"api_keys": {"provider": [KEY]}}),
        type("Own", (dspy.BaseLM,), {"token": KEY})("own"),
    ],
)
def test_what_can_be_reached_is_walked(root):
    """Models, programs, metrics with a judge in them, in closures, arguments and attributes."""
    assert any(KEY in secret for secret in credentials({}, {"root": root}).values())


def test_a_judge_that_is_a_global_is_reached():
    """Also from a function within the metric."""
    found = credentials({}, {"metric": judge_by_global})
    assert f"global-{KEY}" in found.values()


def test_a_name_says_where_it_is():
    """So that another process finds it by the same name."""
    found = credentials({"A_KEY": "a" * 12}, {"metric": Judge(keyed(api_key=KEY))})
    assert found == {"A_KEY": "a" * 12, "metric.lm.kwargs.api_key": KEY}


def test_what_holds_itself_and_what_is_large_takes_no_time():
    """And what breaks when it is looked at breaks nothing."""

    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

        @property
        def key(self):
            raise RuntimeError

    odd = Odd()
    odd.self = [odd, {str(n): "x" for n in range(10**6)}, scripted_lm("a"), dspy]
    assert credentials({}, {"root": odd}) == {}


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("DB_PASSWORD", "hunter2", ["hunter2"]),
        ("PGPASSWORD", "s3cret!", ["s3cret!"]),
        ("dbPasswd", "a1b2c3", ["a1b2c3"]),
        ("SSH_PASSPHRASE", "open7up", ["open7up"]),
        ("CONNECTION", "host=db;user=me;password=hunter2", ["hunter2"]),
        ("API_KEYS", f"{KEY},{KEY}x", [KEY, f"{KEY}x"]),
        ("API_KEYS", f"{KEY} {KEY}x", [KEY, f"{KEY}x"]),
        ("TOKENS_SECRET", f"{KEY}; {KEY}x;{KEY}y", [KEY, f"{KEY}x", f"{KEY}y"]),
        ("API_KEYS", f'["{KEY}", "{KEY}x"]', [KEY, f"{KEY}x"]),
        ("SETTINGS", f'{{"api_key": "{KEY}", "model": "a-model-with-a-name"}}', [KEY]),
        ("SETTINGS", f'{{"db": {{"password": "hunter2", "keys": ["{KEY}"]}}}}', ["hunter2", KEY]),
        ("SETTINGS", f' [{{"headers": {{"x-own": "{KEY}"}}}}]', [KEY]),
        ("SETTINGS", f'{{"service": "{{\\"token\\": \\"{KEY}\\"}}"}}', [KEY]),
        ("DATABASE_URL", "postgres://me:pa/ss7word@db/x", ["pa/ss7word"]),
        ("DATABASE_URL", "postgres://me:a/b/c/d@db:5432/x", ["a/b/c/d"]),
    ],
)
def test_short_passwords_lists_and_json_are_looked_into(name, value, secrets):
    """In the environment and where an attribute holds the same; none of them reaches a file."""
    for found in (credentials({name: value}), credentials({}, {"lm": {name: value}})):
        assert set(secrets) <= set(found.values())
        hidden = Redactor(found).hidden_text(" ".join(secrets))
        assert not [secret for secret in secrets if secret in hidden]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "postgres"),
        ("DB_PASSWORD", "123456"),
        ("DB_PASSWORD", "a1"),
        ("DB_PASSWORD", "not-needed"),
        ("API_KEY", "abc123"),
        ("NAMES", "a-name-with-words,another-name-with"),
        ("SETTINGS", '{"model": "a-model-with-a-name", "top": ["another-name-here"]}'),
        ("SETTINGS", '{"api_key": "none", "keys": []}'),
        ("SETTINGS", '{"api_key": "0123456789abcdef-the-key"'),
        ("SETTINGS", "[" * 100_000),
        ("ADDRESS", "http://host:8080/path@somewhere"),
        ("ADDRESS", "http://host:8080/a and b@c"),
    ],
)
def test_words_that_stand_in_other_texts_are_left(name, value):
    """A password that is a word or a number is the user's text elsewhere, and stays."""
    assert credentials({name: value}) == {}
    assert credentials({}, {"lm": {name: value}}) == {}
