"""Messages of one kind share a template; what a reader needs to know the kind stays in it."""

import re
import string
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mikroscope.records.templates import (
    CUT_ENDING,
    MAX_CHARACTERS,
    MAX_WORDS,
    template_of,
    templates_of,
)

# What decides: quotes, separators, ids, names, controls, and text that looks like a template.
PIECES = [
    *("\"'`\\ :=,|-.+/%#()[]{}<_\n\t…é日\x1c\x1d\x1e\x1f\ud800"),
    *("<*>", CUT_ENDING, ", ", "::", "] ", "GET ", "true", "null", "µs", "μs", "/Feb/2026:1"),
    *("a", "f", "s", "xyz", "http", "TLSv", "worker", "0", "7", "12", "1234", "-abcd-"),
    *("abcdef12", "x2x9z", "aa:bb:cc:1d:2e:ff"),
]
MESSAGES = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=120).map("".join))
ZEROS = str.maketrans(string.digits, "0" * 10)


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("order with 12 items", "order with <*> items"),
        ("took 12ms, not 1.5s or 2m3.5s", "took <*>, not <*> or <*>"),
        ("took 350µs or 350μs; 7 µs; 7µsec", "took <*> or <*>; <*> µs; <*>µsec"),
        ("3 of 10 (12.5%)", "<*> of <*> (<*>%)"),
        ("step 3/10", "step <*>/<*>"),
        ("delta=-5 at -3", "delta=<*> at <*>"),
        ("10-second timeout in 2 phases", "<*>-second timeout in <*> phases"),
        ("from 10.0.0.7:8080 to ::1", "from <*> to ::<*>"),
        ("at 2026-02-18T10:20:30.123Z, +01:00", "at <*>, +<*>"),
        ("at 2026-02-18 10:20:30,123+01:00", "at <*> <*>"),
        ("[18/Feb/2026:10:20:30 +0000]", "[<*> +<*>]"),
        ("第7回", "第<*>回"),
    ],
)
def test_numbers(message: str, template: str) -> None:
    """A number is masked with its unit, and a time, date or address as one."""
    assert template_of(message) == template


@pytest.mark.parametrize(
    "message",
    [
        "id=3f9a1c2d-abcd-4bcd-8bcd-abcdefabcde1",
        "id=abcdef12-3456-4bcd-8bcd-012345678901",
        "id=A0DF8012DAD554C8",
        "id=deadbeef0",
        "id=abcdef12",
        "id=a0000000",
        "id=a1b2c3d4:80",
        "id=x2x9z",
        "id=QK7ZP3",
        "id=7d9f8b6c5d-x2x9z",
        "id=0x7ffe12",
        "id=aa:bb:cc:1d:2e:ff",
        "id=fe80::1ff:fe23:4567:890a",
        "id=2001:db8::1",
        "id=1,2,3",
        "id=1, 22, 333",
        "id='a', 'b c'",
    ],
)
def test_ids(message: str) -> None:
    """An id is masked as a whole, whether it begins with a digit or a letter; so is a list."""
    assert template_of(message) == "id=<*>"


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("shop-07 user_123 worker12 user48213", "shop-<*> user_<*> worker<*> user<*>"),
        ("pool-1-thread-2", "pool-<*>-thread-<*>"),
        ("Repo.java:17 step7 v20260218", "Repo.java:<*> step<*> v<*>"),
        ("x86_64", "x86_<*>"),
        ("abcdefg1 beefy123 decade1", "abcdefg<*> beefy<*> decade<*>"),
    ],
)
def test_numbered_words(message: str, template: str) -> None:
    """A number that tells one thing from another of its kind is masked, and the word stays."""
    assert template_of(message) == template


@pytest.mark.parametrize(
    "message",
    [
        "http2 HTTP2 oauth2 base64 TLSv1 utf8 md5 sha256 ipv4 s3 ec2 k8s log4j e2e p99 x86",
        "/api/v2/orders",
        "%s of %c: v2 %",
        "no digits, no quotes: [a] (b) {c} <d>",
        "a deadbeef facade",
        "std::vector Foo::Bar",
        "",
    ],
)
def test_names_stay(message: str) -> None:
    """Digits that belong to a name are kept, as is everything that has no digit."""
    assert template_of(message) == message


def test_kept_digits_are_those_of_each_message() -> None:
    """Messages that differ in kept digits only do not share a template, whatever else is masked."""
    messages = [f"50% of /v{n % 10}/a{n % 7}b took {n} ms" for n in range(100)]
    expected = [f"<*>% of /v{n % 10}/a{n % 7}b took <*> ms" for n in range(100)]
    assert templates_of(messages) == expected


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ('relation "users" does not exist', "relation <*> does not exist"),
        ("Table `shop.users` doesn't exist", "Table <*> doesn't exist"),
        ("No such file: '/tmp/x'", "No such file: <*>"),
        ('open "x": No such file', "open <*>: No such file"),
        ('msg="a \\"b\\" c" pod="x/y"', "msg=<*> pod=<*>"),
        ("user 'it <says> \"no\"'.", "user <*>."),
    ],
)
def test_quoted_text(message: str, template: str) -> None:
    """Quoted text is masked with its quotes."""
    assert template_of(message) == template


@pytest.mark.parametrize(
    "message",
    [
        "don't, can't; the users' dogs' tails",
        'an opening "quote only',
        "rock 'n roll",
        "` a ` ' b ' \" c \"",
        'it\'s \\"escaped\\" here',
        'one "two"three',
        'the disk is x" wide',
    ],
)
def test_what_is_no_quote(message: str) -> None:
    """Apostrophes, quotes without a partner and quotes within words swallow nothing."""
    assert template_of(message) == message


def test_an_unbalanced_quote_does_not_hide_the_next() -> None:
    """After a quote without a partner, quotes are found as before."""
    template = template_of('it said "hello and then "sda" failed')
    assert template == 'it said "hello and then <*> failed'


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ('"Started on 80" by "x"', '"Started on <*>" by <*>'),
        (
            'I0218 1 kubelet.go:7] "Sync (ADD)" pod="x"',
            'I<*> <*> kubelet.go:<*>] "Sync (ADD)" pod=<*>',
        ),
        (
            '10.0.0.7 - "GET /v2/orders/7?q=a HTTP/1.1" 200 "curl/8.1"',
            '<*> - "GET /v2/orders/<*>?q=a HTTP/<*>" <*> <*>',
        ),
        (
            '{"a":"b","c": 12, "d": "e", "f": null, "g":{"h":"i"}}',
            '{"a":<*>,"c": <*>, "d": <*>, "f": null, "g":{"h":<*>}}',
        ),
        ("{'a': 'b', 'c': True}", "{'a': <*>, 'c': True}"),
    ],
)
def test_quotes_that_tell_the_kind(message: str, template: str) -> None:
    """A quoted message, a request line and the keys of JSON are kept."""
    assert template_of(message) == template


def test_one_kind_has_one_template() -> None:
    """Ids of random digits, hexadecimal or not, never show in a template."""
    numbers = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(1, 5000)]
    ids = [one for one in numbers if not one[:9].isalpha()]
    messages = [f"order {one} of user-{one[:9]} took {int(one[:5], 16)} ms" for one in ids]
    assert set(templates_of(messages)) == {"order <*> of user-<*> took <*> ms"}


def test_long_messages() -> None:
    """Only the beginning of a long message counts, up to a space; an ending says so."""
    words = "word " * 50
    end = words.strip() + CUT_ENDING
    assert template_of(words + "x" * 100) == end
    assert template_of(words + "y" * 10_000) == end
    assert template_of("x" * (MAX_CHARACTERS + 1)) == "x" * MAX_CHARACTERS + CUT_ENDING
    assert template_of("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS


def test_many_words() -> None:
    """Of many short words only the first count; runs of spaces are no words."""
    words = ["a"] * MAX_WORDS
    assert template_of(" ".join(words)) == " ".join(words)
    assert template_of(" ".join([*words, "b"])) == " ".join(words) + CUT_ENDING
    assert template_of("a" + " " * 150 + "b") == "a" + " " * 150 + "b"


def test_a_quote_that_is_cut() -> None:
    """A quote whose end was cut off is masked up to the end, so that long ones share a kind."""
    messages = [f'failed: "insert {name * 200} again"' for name in ("a ", "b ", "c d ")]
    assert set(templates_of(messages)) == {"failed: <*>" + CUT_ENDING}


def test_inner_controls() -> None:
    """Controls that mark parts while messages are masked cannot be injected by a message."""
    assert templates_of(["a\x1f1", "b\x1c\x1d\x1e", "c 2"]) == ["a�<*>", "b���", "c <*>"]


@given(st.lists(MESSAGES, max_size=6))
@example(["x " * 200, "\x1e", 'a "b'])
def test_many_at_once_are_as_one_at_a_time(messages: list[str]) -> None:
    """No message has an effect on the template of another."""
    assert templates_of(messages) == [template_of(message) for message in messages]


@given(MESSAGES)
def test_a_template_is_its_own_template(message: str) -> None:
    """Masking a template changes nothing, as long as it is within the limits."""
    template = template_of(message)
    if len(template) <= MAX_CHARACTERS and template.count(" ") < MAX_WORDS:
        assert template_of(template) == template


@given(MESSAGES)
def test_which_digits_it_are_does_not_matter(message: str) -> None:
    """Where a message has other digits, its template has those, or the same mask."""
    assert template_of(message.translate(ZEROS)) == template_of(message).translate(ZEROS)


@given(MESSAGES)
def test_words_with_digits_come_from_the_message(message: str) -> None:
    """A word with digits that is left in a template is one of the message's."""
    for word in re.findall(r"[A-Za-z]+[0-9]+[A-Za-z]*", template_of(message)):
        assert word in message


def _seconds(messages: list[str]) -> float:
    began = time.process_time()
    templates_of(messages)
    return time.process_time() - began


@pytest.mark.parametrize(
    "piece",
    [
        *(' "', ' "\\', '"', "\\", " '", "'", ":", "a:", ":a", "0:", "0.", "0.a", "0-a", ".", "-"),
        *("a", "f", "0", "a0", "f0", "a0 ", "f0000000g ", "0a", "<*>", ' "<', "/Jan/0000:0", "0µs"),
    ],
)
def test_no_text_takes_much_longer(piece: str) -> None:
    """Repeated quotes, digits and separators take about as long as words and numbers."""
    repeated = [f"{number} ".ljust(9, "x") + piece * MAX_CHARACTERS for number in range(300)]
    usual = [f"{number} word {'x' * (number % 90)} 12" * 9 for number in range(300)]
    slow = min(_seconds(repeated) for _ in range(3))
    assert slow < 50 * min(_seconds(usual) for _ in range(3))
