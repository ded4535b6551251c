"""The webhook channel: one POST, its time limit, and the errors it ends with."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mikroscope.alerts.channels import webhook
from mikroscope.alerts.channels.webhook import DeliveryError, RefusedError, post
from mikroscope.alerts.delivery import DeliveryThread
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import DRIP, DRIP_BODY, HANG, catching, make_certificate

Post = Callable[..., None]


@pytest.fixture
def send(deliveries: DeliveryThread) -> Post:
    """Posts once to a URL, and waits for the outcome."""

    def run(url: str, timeout_s: float = 60.0) -> None:
        body = b'{"rule": "manual_test"}'
        deliveries.submit(post(url, body, timeout_s)).result(DEADLINE_S)

    return run


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A certificate for 127.0.0.1 that is trusted during the test, and its key."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    webhook._trusted.cache_clear()
    yield certificate, key
    webhook._trusted.cache_clear()


def test_accepted(send: Post) -> None:
    """A 2xx status means that the webhook has the body."""
    with catching(202) as catcher:
        send(catcher.url)
        assert catcher.requests == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_temporary_status(send: Post, status: int) -> None:
    """A status that another attempt may change is an error that is not final."""
    with catching(status) as catcher, pytest.raises(DeliveryError, match=str(status)) as caught:
        send(catcher.url)
    assert not isinstance(caught.value, RefusedError)


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_refused(send: Post, status: int) -> None:
    """Any other status is a refusal; a redirect is not followed."""
    with catching(status) as catcher, pytest.raises(RefusedError, match=str(status)):
        send(catcher.url)
    assert catcher.requests == 1


def test_no_answer(send: Post) -> None:
    """A webhook that does not answer in time is a timeout, and its connection is closed."""
    with catching(HANG) as catcher:
        with pytest.raises(DeliveryError, match=r"gave no answer within 0\.3 s"):
            send(catcher.url, timeout_s=0.3)
        assert catcher.left.wait(DEADLINE_S)


def test_dripping_head(send: Post) -> None:
    """A webhook that sends its head byte by byte is a timeout, and its connection is closed."""
    with catching(DRIP) as catcher:
        with pytest.raises(DeliveryError, match=r"gave no answer within 0\.3 s"):
            send(catcher.url, timeout_s=0.3)
        assert catcher.left.wait(DEADLINE_S)


def test_dripping_head_over_tls(send: Post, trusted: tuple[Path, Path]) -> None:
    """The time limit holds within TLS, too, and the connection is closed."""
    with catching(DRIP, certificate=trusted) as catcher:
        with pytest.raises(DeliveryError, match="gave no answer within"):
            send(catcher.url, timeout_s=1.0)
        assert catcher.left.wait(DEADLINE_S)


def test_body_is_not_read(send: Post) -> None:
    """The head of the answer decides; the connection is closed on a body that never ends."""
    with catching(DRIP_BODY) as catcher:
        send(catcher.url, timeout_s=600.0)
        assert catcher.left.wait(DEADLINE_S)


def test_silent_peer_over_tls(send: Post) -> None:
    """A TLS handshake without an answer is a timeout, and its connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/hook"
        with pytest.raises(DeliveryError, match="gave no answer within"):
            send(url, timeout_s=0.3)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(DEADLINE_S)
            while connection.recv(4096):
                pass  # the handshake's first message, then the end


def lookups() -> list[threading.Thread]:
    """Return the threads that look up a name."""
    return [one for one in threading.enumerate() if one.name == "mikroscope-lookup"]


def test_hanging_lookup(send: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds while a name is looked up, and nothing is sent afterwards."""
    answered = threading.Event()
    resolve = socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        answered.wait()
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with catching() as catcher:
        url = catcher.url.replace("127.0.0.1", "localhost")
        with pytest.raises(DeliveryError, match="gave no answer within"):
            send(url, timeout_s=0.3)
        assert lookups()
        answered.set()
        wait_until(lambda: not lookups())
        assert catcher.requests == 0


def test_hanging_lookups_delay_no_other(
    deliveries: DeliveryThread, send: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many lookups hang, another host is still found."""
    answered = threading.Event()
    resolve = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("localhost", b"localhost"):
            answered.wait()
            raise socket.gaierror("no such host")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    for _ in range(40):  # more than an ordinary pool has threads
        deliveries.submit(post("http://hook.invalid/", b"{}", 600.0))
    wait_until(lambda: len(lookups()) == 40)
    with catching() as catcher:
        send(catcher.url.replace("127.0.0.1", "localhost"))
    deliveries.close()
    answered.set()
    wait_until(lambda: not lookups())


def test_tls(send: Post, trusted: tuple[Path, Path]) -> None:
    """A webhook over TLS is accepted if the system trusts its certificate."""
    with catching(certificate=trusted) as catcher:
        send(catcher.url)
        assert catcher.rules() == ["manual_test"]


def test_untrusted_certificate(send: Post, tmp_path: Path) -> None:
    """A webhook whose certificate is not trusted gets nothing."""
    webhook._trusted.cache_clear()
    with catching(certificate=make_certificate(tmp_path)) as catcher:
        with pytest.raises(DeliveryError, match=r"^cannot be reached: .*certificate"):
            send(catcher.url)
        assert catcher.requests == 0


def test_connection_refused(send: Post) -> None:
    """A port that is not listened on is an error with the system's reason."""
    with catching() as catcher:
        pass
    with pytest.raises(DeliveryError, match=r"^cannot be reached: Connection refused$"):
        send(catcher.url)


@pytest.mark.parametrize("host", ["a..b", "xn--"])
def test_impossible_host(send: Post, host: str) -> None:
    """A host name that cannot exist fails like one that is not found."""
    with pytest.raises(DeliveryError, match="cannot be reached"):
        send(f"http://{host}/")


def test_error_contains_no_url(send: Post) -> None:
    """Webhook URLs often contain a key: errors do not show them."""
    with catching(400) as catcher, pytest.raises(DeliveryError) as refused:
        send(catcher.url)
    with pytest.raises(DeliveryError) as unreachable:
        send(catcher.url)
    for error in (refused.value, unreachable.value):
        assert "/hook" not in str(error)
        assert "127.0.0.1" not in str(error)


@pytest.mark.parametrize(
    ("tail", "answer", "shown"),
    [
        ("/services/T0/B0/k3y-abc", "Cannot POST /services/T0/B0/k3y-abc", "Cannot POST …"),
        ("/services/T0/B0/k3y-abc", "no key k3y-abc in services", "no key … in services"),
        ("/workflows?sig=a%2Fb-secret", "sig is a/b-secret", "sig is …"),
        ("/workflows?sig=a%2Fb-secret", "bad sig=a%2Fb-secret", "bad …"),
        ("/", "a/b", "a/b"),
    ],
)
def test_answer_that_repeats_the_url(send: Post, tail: str, answer: str, shown: str) -> None:
    """Parts of the URL that may be keys are not shown, even if the answer repeats them."""
    with catching(404) as catcher:
        catcher.refusal = answer.encode()
        with pytest.raises(RefusedError) as refused:
            send(catcher.url.removesuffix("/hook") + tail)
    assert str(refused.value) == f"answered with status 404: {shown}"


def test_password_in_the_url(send: Post) -> None:
    """A user and a password in the URL are sent, and not shown either."""
    with catching(401) as catcher:
        catcher.refusal = b"joe:hunter2 is unknown"
        with pytest.raises(RefusedError, match=r"401: …:… is unknown$"):
            send(catcher.url.replace("127.0.0.1", "joe:hunter2@127.0.0.1"))


def test_url_is_not_logged(send: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing logs the URL, in programs that log everything either."""
    caplog.set_level("DEBUG")
    with catching() as catcher:
        send(f"{catcher.url}/k3y-abc")
    assert "k3y-abc" not in caplog.text
