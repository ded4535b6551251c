"""Secrets in the text of a log line: which names count, and which values are masked."""

import json
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mikroscope.alerts.redaction import LONGEST, MASK, Redactor
from mikroscope.settings.options import Settings

REDACTOR = Redactor(Settings().redact_fields)


def masked(text: str, record: dict[str, object] | None = None) -> str:
    """Return a text as notifications show it by default."""
    return REDACTOR.mask(text, record or {})


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Password", "PASSWORD", "passwd", "pass_wd", "secret", "token", "cookie"),
        *("apiKey", "api_key", "api-key", "api.key", "api key", "APIKEY", "X-Api-Key", "x_api_key"),
        *("access_token", "accessToken", "refresh-token", "client_secret", "Set-Cookie"),
        *("Authorization", "Proxy-Authorization", "HTTP_AUTHORIZATION", "httpAuthorization"),
        *("privateKey", "PRIVATE_KEY", "sshPrivateKey", "secretAccessKey", "AWS_SECRET_KEY"),
        *("user.password", "userpassword", "DB_PASSWORD", "dbPassword", "password2", "authtoken"),
        *("password_confirmation", "tokenValue", "OAuthToken", "x-csrf-token", "pwd"),
    ],
)
def test_named(name: str) -> None:
    """A name counts in every spelling, and as the last words of a longer name."""
    assert REDACTOR.is_named(name)


@pytest.mark.parametrize(
    "name",
    [
        *("message", "user", "secretary", "tokens", "total_tokens", "tokenCount", "key", "api"),
        *("passwordless", "cookie_policy", "author", "authorized", "", "-", "monkey", "keyboard"),
    ],
)
def test_not_named(name: str) -> None:
    """A name that only contains one of the names, or a part of one, does not count."""
    assert not REDACTOR.is_named(name)


def test_names_of_ones_own() -> None:
    """Names that are configured replace the default ones."""
    own = Redactor(["ssn", "Card Number"])
    assert own.is_named("card_number")
    assert own.is_named("customerSSN")
    assert not own.is_named("lessn")  # short names are words of their own
    assert not own.is_named("password")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("login failed, password=hunter2", "login failed, password=***"),
        ("password=hunter2&user=joe", "password=***&user=joe"),
        ("GET /cb?token=abc&state=x", "GET /cb?token=***&state=x"),
        ("GET /cb?x=1&access_token=a.b-c~d HTTP/1.1", "GET /cb?x=1&access_token=*** HTTP/1.1"),
        ("password: hunter2", "password: ***"),
        ("api key: sk-123, retrying", "api key: ***, retrying"),
        ("the private key = abc was", "the private key = *** was"),
        ('{"user":"joe","token":"abc","n":1}', '{"user":"joe","token":"***","n":1}'),
        ('{"token" : "a\\"b", "n": 1}', '{"token" : "***", "n": 1}'),
        ('{"token": 123456, "n": 1}', '{"token": ***, "n": 1}'),
        ('{"cookies": {"sid": "a}b", "x": [1]}, "n": 1}', '{"cookies": ***, "n": 1}'),
        ('"{\\"token\\":\\"abc\\",\\"n\\":1}"', '"{\\"token\\":\\"***\\",\\"n\\":1}"'),
        ("{'password': 'it is', 'n': 1}", "{'password': '***', 'n': 1}"),
        ("{ password: 'x', n: 1 }", "{ password: '***', n: 1 }"),
        ('{:password=>"x", :n=>1}', '{:password=>"***", :n=>1}'),
        ("user[password]=x&n=1", "user[password]=***&n=1"),
        ("password[]=x&token[0]=y&n[1]=2", "password[]=***&token[0]=***&n[1]=2"),
        ("user%5Bpassword%5D=x&token%5B%5D=y&n=1", "user%5Bpassword%5D=***&token%5B%5D=***&n=1"),
        ("User(name=joe, password=x), n=1", "User(name=joe, password=***), n=1"),
        ("Server=x;Password=a;b;Timeout=5", "Server=x;Password=***;Timeout=5"),
        ("{ h: {\n authorization: 'Bearer x',\n n: 1 }", "{ h: {\n authorization: '***',\n n: 1 }"),
        ("Authorization: Bearer x\r\nHost: y", "Authorization: ***\r\nHost: y"),
        ("{User:joe Password:hunter2 N:1}", "{User:joe Password:*** N:1}"),
        ("password=hun,ter2 ok", "password=*** ok"),
        ("password=a,user=joe", "password=***,user=joe"),
        ("(password=a)", "(password=***)"),
        ("password='two words' n=1", "password='***' n=1"),
        ('token="cut off', 'token="***'),
        ("Authorization: Bearer abc.def, then", "Authorization: ***, then"),
        ("--password hunter2 --user joe", "--password *** --user joe"),
        ("--api-key=sk --user joe", "--api-key=*** --user joe"),
        ("<Password>x</Password><n>1</n>", "<Password>***</Password><n>1</n>"),
        ('<a:token type="t">x</a:token>', '<a:token type="t">***</a:token>'),
        ("postgres://joe:hunter2@db/x", "postgres://joe:***@db/x"),
        ("postgres://joe:hun@ter2@db/x", "postgres://joe:***@db/x"),
        ("got Bearer eyJhbGciOi1.x", "got Bearer ***"),
        ("got Basic am9lOmh1bnRlcjI= here", "got Basic *** here"),
        ("Cookie: a=b; sid=c d", "Cookie: *** d"),
        ("Set-Cookie: sid=c; HttpOnly; Path=/", "Set-Cookie: ***"),
        ("curl -H 'Authorization: Token abc' -v", "curl -H 'Authorization: ***' -v"),
        ("authorization=Digest username=x, r=y\nnext", "authorization=***\nnext"),
        ("%26token%3Dabc%26n", "%26token%3D***"),
        ("пароль password=слово здесь", "пароль password=*** здесь"),
    ],
)
def test_value_of_a_name(text: str, shown: str) -> None:
    """What stands behind a name as its value is masked, and nothing else."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "order failed", "12 tokens: 5 used", "Unexpected token < in JSON at position 0"),
        *("Bearer authentication failed", "Basic authentication failed", "basic usage"),
        *("http://host:8080/a@b", "user@host:22", "a=b c:d", "the secretary: Ann", "password="),
        *("monkey=1", "<b>bold</b>", "-----BEGIN CERTIFICATE-----x"),
    ],
)
def test_nothing_to_mask(text: str) -> None:
    """Text without a secret stays as it is."""
    assert masked(text) == text


def test_private_key() -> None:
    """A private key in PEM is masked, also one whose end is cut off."""
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"
    assert "MIIE" not in masked(f"got {key}-----END RSA PRIVATE KEY-----")
    assert masked(f"got {key}") == "got -----BEGIN RSA PRIVATE KEY-----***"


@pytest.mark.parametrize(
    ("record", "text", "shown"),
    [
        ({"password": "hunter2"}, "no hunter2 here", "no *** here"),
        ({"req": {"headers": {"x-api-key": "sk-1"}}}, "key sk-1!", "key ***!"),
        ({"req.headers.cookie": "sid=abcdef"}, "session abcdef", "session ***"),
        ({"authorization": "Bearer abc-def"}, "bad credential abc-def", "bad credential ***"),
        ({"tokens": [1], "token": ["one-long-value", "b"]}, "one-long-value a b", "*** a ***"),
        ({"secret": {"a": {"b": "deep"}}}, "so deep", "so ***"),
        ({"token": 123456}, "123456 1", "*** 1"),
        ({"token": 5}, "took 5 s", "took 5 s"),
        ({"token": True}, "True", "True"),
        ({"password": "an"}, "an answer, an", "*** answer, ***"),
        ({"password": "correct horse"}, "x=correct%20horse", "x=***"),
        ({"password": 'a"b\\c-long'}, '{"x":"a\\"b\\\\c-long"}', '{"x":"***"}'),
        ({"password": "  "}, "a  b", "a  b"),
        ({"password": "abcabc", "secret": "bcab"}, "abcabcx abcabc", "abcabcx ***"),
        ({"user": "joe"}, "joe", "joe"),
    ],
)
def test_value_of_a_field(record: dict[str, object], text: str, shown: str) -> None:
    """The values of named fields of the record are masked wherever the text has them."""
    assert masked(text, record) == shown


SECRETS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=8, max_size=40)


@given(SECRETS, st.text(max_size=60), st.sampled_from(["password", "api_key", "X-Auth-Token"]))
def test_no_secret_is_shown(secret: str, other: str, name: str) -> None:
    """No value of a named field is shown: in the record, in JSON, in JSON within JSON."""
    assume(secret not in other and MASK[0] not in secret)
    assert secret not in masked(other + secret + other, {name: secret})
    inner = json.dumps({"a": other, name: secret, "b": other}, ensure_ascii=False)
    for text in (inner, json.dumps(inner, ensure_ascii=False)):
        assert secret not in masked(text)


def test_deep_record() -> None:
    """A record may be nested as deeply as JSON allows."""
    record: dict[str, object] = {"token": "deep-down"}
    for _ in range(5000):
        record = {"a": record}
    assert masked("deep-down", record) == MASK


def test_long_text() -> None:
    """Of a long text only the beginning is kept, and a secret that crosses its end is masked."""
    secret = "s" * 50
    text = "x" * (LONGEST - 10) + secret + "y" * 1_000_000
    assert masked(text, {"token": secret}) == "x" * (LONGEST - 10) + MASK


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 20_000, "a." * 10_000, "token=" * 4_000, 'token="' * 3_000, "token={" * 3_000),
        *('"\\' * 10_000, "<a " * 7_000, "://a:" * 4_000, "-- " * 7_000, "p=" + ",a" * 9_000),
        *("Cookie: " + "a;" * 9_000, "Bearer " + "a" * 20_000, "Basic " * 4_000),
        *("-----BEGIN PRIVATE KEY-----" * 700, "password=" + "',\"" * 6_000, "://" * 7_000),
        *(
            " a" * 10_000 + ":",
            "a." * 8_000 + "=",
            '{"token":' + "[" * 10_000,
            "password=" + "a," * 9_000,
        ),
    ],
    ids=range(20),
)
def test_takes_no_long_time(text: str) -> None:
    """No text takes long, whatever it holds."""
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 1
