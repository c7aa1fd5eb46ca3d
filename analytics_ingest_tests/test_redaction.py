"""No form of a secret passes, and no value of an excluded field."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from analytics_ingest.redaction import MASK, Redactor

SECRET = 'sk/live-4f"9 &<Q+z_7w=='
WORDS = ("", "no such key: ", "{}[]", "x" * 50)


def percent(text, every=1, form="%{:02x}"):
    return "".join(form.format(ord(each)) if at % every == 0 else each for at, each in enumerate(text))


FORMS = {
    "as it is": SECRET,
    "lower case": SECRET.lower(),
    "URL": quote(SECRET, safe=""),
    "URL path": quote(SECRET),
    "URL in lower case": quote(SECRET, safe="").lower(),
    "form": quote_plus(SECRET),
    "all percent": percent(SECRET),
    "some percent": percent(SECRET, 3, "%{:02X}"),
    "IIS": percent(SECRET, 2, "%u{:04x}"),
    "URL twice": quote(quote(SECRET, safe=""), safe=""),
    "all percent twice": quote(percent(SECRET), safe=""),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON twice": json.dumps(json.dumps(SECRET)[1:-1])[1:-1],
    "JSON of PHP": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "JSON codes": percent(SECRET, 1, "\\u{:04x}"),
    "some JSON codes": percent(SECRET, 4, "\\u{:04X}"),
    "bytes": percent(SECRET, 2, "\\x{:02x}"),
    "HTML": html.escape(SECRET),
    "HTML twice": html.escape(html.escape(SECRET)),
    "decimal entities": percent(SECRET, 1, "&#{};"),
    "hexadecimal entities": percent(SECRET, 2, "&#x{:X};"),
    "padded entities": percent(SECRET, 2, "&#{:06};"),
    "named entities": SECRET.replace("/", "&sol;").replace("+", "&plus;").replace("_", "&lowbar;"),
    "mixed": percent(SECRET[:7]) + json.dumps(SECRET[7:10])[1:-1] + html.escape(SECRET[10:14]) + SECRET[14:],
    "URL in JSON in HTML": html.escape(json.dumps(quote(SECRET) + "\\n")[1:-3]),
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    **{f"base64 after {n}": base64.b64encode(b"u:~"[:n] + SECRET.encode() + b"!"[:n]).decode() for n in range(4)},
    **{f"urlsafe after {n}": base64.urlsafe_b64encode(b"?>?"[:n] + SECRET.encode()).decode() for n in range(4)},
    "base64 in a URL": quote(base64.b64encode(SECRET.encode()).decode(), safe=""),
}


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_form_of_a_secret_passes(form, words):
    shown = Redactor([SECRET]).redact(f"{words}{form} and so on")
    assert shown.startswith(words)
    assert shown.endswith(" and so on")
    left = shown.removeprefix(words).removesuffix(" and so on")
    assert MASK in left
    # base64 keeps what the neighbours of the secret share a character with
    assert len(left.replace(MASK, "")) <= 8, left


@pytest.mark.parametrize("cut", range(1, len(SECRET) - 8))
@pytest.mark.parametrize("encode", [str, percent, html.escape, lambda text: json.dumps(text)[1:-1]])
def test_a_secret_without_its_beginning_or_its_end_is_masked(cut, encode):
    redactor = Redactor([SECRET])
    assert redactor.redact(f"<{encode(SECRET[cut:])}>") == "<***>"
    assert redactor.redact(f"<{encode(SECRET[:-cut])}>") == "<***>"


def test_fewer_than_eight_characters_are_no_secret():
    assert Redactor(["abcdefghij"]).redact("abcdefg, defghij") == "abcdefg, defghij"


@pytest.mark.parametrize("secret", ["pw", "La:ke@", "s3cr3t", "a/b"])
@pytest.mark.parametrize(
    "encode", [str, percent, lambda text: quote(text, safe=""), lambda text: percent(text, 1, "&#{};")]
)
def test_a_short_secret_is_masked_whole(secret, encode):
    assert Redactor([secret]).redact(f"<{encode(secret)}>") == "<***>"


@pytest.mark.parametrize("secret", ["La%3Ake%40Pw%2F9", "gr\u00fcn\u20ac\U0001f511-9-k3y", 'back\\slash\\n"quote'])
@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda text: quote(text, safe=""),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        html.escape,
    ],
)
def test_a_secret_may_look_encoded_or_not_be_ascii(secret, encode):
    assert Redactor([secret]).redact(f"<{encode(secret)}>") == "<***>"


def test_a_secret_that_is_a_url_is_masked_decoded():
    assert Redactor(["La%3Ake%40Pw%2F9"]).redact("password 'La:ke@Pw/9' refused") == "password '***' refused"


@pytest.mark.parametrize(
    "text", ["", "nothing here", "100 % of &amp; \\u00e9 \\", "%", "&#;", "&#99999999;", "\\ud800"]
)
def test_other_text_stays_as_it_is(text):
    assert Redactor([SECRET, ""], fields=["email", ""]).redact(text) == text


def test_several_secrets_and_none():
    assert Redactor(["first-secret", "second-secret"]).redact("first-secret second-secret") == "*** ***"
    assert Redactor([]).redact("first-secret") == "first-secret"


@pytest.mark.parametrize("part", ["a", "%2", "%41", "\\", "&", '"email": ', '"', '\\"', "{", "&quot;", "sk/live-"])
def test_long_texts_take_linear_time(part):
    redactor = Redactor([SECRET], fields=["email"])
    started = time.process_time()
    redactor.redact(part * (200_000 // len(part)))
    assert time.process_time() - started < 5


VALUES = ['"a@b.example"', '"a\\"@\\\\"', "12.5", "null", '{"a": ["}", 1], "b": {}}', '[["x"], "]"]']


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ["email", "userEmail", "user_email", "User Email", "e\\u006dail"])
def test_values_of_excluded_fields_are_masked(name, value):
    redactor = Redactor([], fields=["email", "members.user_email"])
    assert redactor.redact(f'{{"id": 7, "{name}": {value}, "z": 1}}') == f'{{"id": 7, "{name}": ***, "z": 1}}'


@pytest.mark.parametrize("value", VALUES)
def test_a_body_may_be_cut_anywhere(value):
    redactor = Redactor([], fields=["email"])
    start = '{"id": 7, "email":'
    for end in range(1, len(value)):
        assert redactor.redact(f"{start}{value[:end]}") == f"{start}***"


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_may_stand_in_json(value, depth):
    body = f'{{"id": 7, "email": {value}, "z": 1}}'
    for _ in range(depth):
        body = json.dumps(body)
    shown = Redactor([], fields=["email"]).redact(body)
    for _ in range(depth):
        shown = json.loads(shown)
    assert shown == '{"id": 7, "email": ***, "z": 1}'


def test_other_notations():
    redactor = Redactor([], fields=["email"])
    assert redactor.redact("{'id': 7, 'email': 'a@b', 'z': 1}") == "{'id': 7, 'email': ***, 'z': 1}"
    assert (
        redactor.redact("{&quot;email&quot;:&quot;a@b&quot;,&quot;z&quot;:1}")
        == "{&quot;email&quot;:***,&quot;z&quot;:1}"
    )
    assert redactor.redact('{"emails": 1, "mail": 2}') == '{"emails": 1, "mail": 2}'
