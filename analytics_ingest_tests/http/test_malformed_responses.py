"""Responses that no API documents: their errors, and that none is taken for an empty list."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from urllib.parse import quote

import pytest
import requests

from analytics_ingest.errors import AuthenticationError, ConfigurationError, IngestError, ReadError
from analytics_ingest_tests.fake_server import KEY, Response
from analytics_ingest_tests.raw_server import send

ROWS = {"data": [{"id": 1}]}
GOOD = Response(body=ROWS)
SECRET = "s3cr3t/k3y-of+9z"
FORMS = {
    "plain": SECRET,
    "URL": quote(SECRET, safe=""),
    "JSON": SECRET.replace("/", "\\u002f"),
    "HTML": SECRET.replace("/", "&#x2F;"),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "without its ends": SECRET[2:-3],
}


def error_of(client, url, **settings):
    with pytest.raises(IngestError) as error:
        client("experimentation", url, **settings).get()
    return error.value


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 401 bad key {}\r\n\r\n",
        "HTTP/1.1 401 No\r\nContent-Type: text/{}\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /login/{}\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: https://{}.example/\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://[{}\r\n\r\n",
        "HTTP/1.1 400 No\r\n\r\nno such key: {}",
        "HTTP/1.1 500 No\r\n\r\n{}",
        "HTTP/1.1 {}\r\n\r\n",
        "{}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, {}\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n<p>{}",
    ],
)
def test_a_key_is_masked_wherever_the_server_repeats_it(raw_server, client, caplog, head, form):
    said = str(error_of(client, raw_server(send(head.format(form).encode())).url, api_key=SECRET)) + caplog.text
    assert not any(each.lower() in said.lower() for each in (*FORMS.values(), SECRET[:8], SECRET[-8:]))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 401 " + b"x" * 5000 + b"\x1b[31m\r\nContent-Type: \x1b[2J" + b"y" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /" + b"x" * 5000 + b"\x1b[31m\r\n\r\n",
    ],
)
def test_foreign_text_is_bounded_and_printable(raw_server, client, head):
    said = str(error_of(client, raw_server(send(head)).url))
    assert len(said) < 800
    assert said.isprintable()


def test_excluded_fields_are_masked_in_the_body_that_an_error_shows(fake_server, client):
    rows = [{"id": 7, "userEmail": "a@b.example", "profile": {"a": 1}}]
    server = fake_server(Response(status=422, body={"rows": rows}))
    said = str(error_of(client, server.url, exclude_columns=("users.user_email", "profile")))
    assert said == ('answered 422: 422, application/json, \'{"rows": [{"id": 7, "userEmail": ***, "profile": ***}]}\'')


@pytest.mark.parametrize("encoding", ["utf8mb4", "none", "hex", "rot13", "idna", "undefined", '"', "\u00fc", "a" * 999])
@pytest.mark.parametrize("status", [200, 400])
def test_an_encoding_that_does_not_exist_is_read_as_utf_8(fake_server, client, encoding, status):
    server = fake_server(Response(status=status, body="<p>caf\u00e9", content_type=f"text/html; charset={encoding}"))
    assert "'<p>caf\u00e9'" in str(error_of(client, server.url))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\1\2",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: " + b"gzip, " * 5 + b"gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\xff\xfe: \xff\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_what_cannot_be_read_is_no_answer_and_requested_again(raw_server, client, clock, answer):
    server = raw_server(send(answer))
    said = str(error_of(client, server.url))
    assert said.startswith(("no answer: ", "an empty body"))
    assert (len(server.requests), clock.slept) == (4, [2, 4, 8])
    assert said.isprintable()


@pytest.mark.parametrize("status", [202, 205, 206, 207, 226, 299])
def test_a_success_that_is_not_whole_is_no_list(fake_server, client, clock, status):
    server = fake_server(Response(status=status), GOOD)
    assert client("experimentation", server.url).get() == ROWS
    error = error_of(client, fake_server(Response(status=status)).url)
    assert str(error).startswith(f"answered {status}, an incomplete answer: ")
    assert error.status == status


@pytest.mark.parametrize("status", [200, 201, 203])
def test_a_success_that_is_whole_is_a_list(fake_server, client, status):
    assert client("experimentation", fake_server(Response(status=status, body=ROWS)).url).get() == ROWS


@pytest.mark.parametrize("errors", [{"errors": [{"message": "timed out"}]}, {"error": "partial"}, {"error": {"a": 1}}])
@pytest.mark.parametrize("rows", [[], [{"id": 1}]])
def test_errors_beside_the_rows_are_an_error(fake_server, client, clock, errors, rows):
    name = next(iter(errors))
    server = fake_server(Response(body={"data": rows, **errors}))
    assert str(error_of(client, server.url)).startswith(f"the body has '{name}' beside 'data': 200")
    assert client("experimentation", fake_server(Response(body={"data": rows, **errors}), GOOD).url).get() == ROWS


@pytest.mark.parametrize("nothing", [{"errors": []}, {"error": None}, {"errors": {}, "error": ""}, {"error": False}])
def test_no_errors_beside_the_rows_are_none(fake_server, client, nothing):
    assert client("experimentation", fake_server(Response(body={**ROWS, **nothing})).url).get() == {**ROWS, **nothing}


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("/login", "to /login on the same host"),
        ("login?next=%2F&key=x", "to login on the same host"),
        ("?page=2", "to / on the same host"),
        ("//other.example/rows", "to http://other.example"),
        ("https://u:p@other.example:8443/rows", "to https://other.example"),
        ("mailto:a@b", "to mailto:"),
        ("http://[", "to 'http://[', which is not a URL"),
        (None, "without a Location"),
        ("", "without a Location"),
    ],
)
def test_a_redirect_names_where_it_leads(fake_server, client, location, to):
    headers = {} if location is None else {"Location": location}
    error = error_of(client, fake_server(Response(status=302, body=b"", headers=headers)).url)
    assert str(error) == (
        f"answered 302, a redirect {to}; the key is not sent there: check SOURCES__EXPERIMENTATION__BASE_URL"
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for another host than 127.0.0.1, and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=elsewhere.example -addext"
    subprocess.run(
        [*command.split(), "subjectAltName=DNS:elsewhere.example", "-keyout", str(file) + ".key", "-out", str(file)],
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture
def tls(fake_server, certificate):
    server = fake_server(GOOD)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server.url.replace("http://", "https://")


def test_a_certificate_of_nobody_known_is_not_tried_again(tls, client, clock):
    said = str(error_of(client, tls))
    assert said.startswith("no answer: the certificate of 127.0.0.1 is not accepted (self")
    assert said.endswith("If an authority of your own signed it, set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to its file")
    assert clock.slept == []


def test_a_certificate_of_another_host_is_not_tried_again(tls, client, clock, monkeypatch, certificate):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    said = str(error_of(client, tls))
    assert said.startswith("no answer: the certificate of 127.0.0.1 is not accepted (IP address mismatch")
    assert said.endswith("Check the host in SOURCES__EXPERIMENTATION__BASE_URL")
    assert clock.slept == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_a_host_that_is_not_there_is_tried_again(client, clock, url):
    assert str(error_of(client, url)).startswith("no answer: ")
    assert clock.slept == [2, 4, 8]


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def no_socks(monkeypatch):
    """The environment without PySocks, which a browser's driver brings along."""

    def without(*_, **__):
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", without)


@pytest.mark.usefixtures("no_socks")
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://u:pa55word@127.0.0.1:1", " names a SOCKS proxy, which needs the package PySocks: install it, or"),
        ("http://u:pa55word@127.0.0.1:99999", " is not the URL of a proxy: write http://host:port"),
        ("http://u:pa55word@127.0.0.1:port", " is not the URL of a proxy: write http://host:port"),
        ("ftp://u:pa55word@127.0.0.1:21", " is not the URL of a proxy: write http://host:port"),
        ("http://", " is not the URL of a proxy: write http://host:port"),
        ("http://[", " is not the URL of a proxy: write http://host:port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_setting(client, no_proxy, name, value, said):
    no_proxy.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        client("experimentation", "https://upstream.invalid")
    assert str(error.value).startswith(name + said)
    assert "pa55word" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["garbage", "http://u:pa55word@127.0.0.1:1"])
def test_a_proxy_that_does_not_answer_is_named(client, no_proxy, value):
    no_proxy.setenv("HTTPS_PROXY", value)
    said = str(error_of(client, "https://upstream.invalid"))
    assert said.startswith("no answer: ")
    assert said.endswith(" (the proxy is set by HTTPS_PROXY)")
    assert "pa55word" not in said


@pytest.mark.parametrize("content", [None, "", "no certificate", b"\xff\xfe"])
def test_a_file_of_certificates_that_cannot_be_used_is_a_setting(client, monkeypatch, tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.setenv(name, str(file))
        with pytest.raises(ConfigurationError, match=f"^{name} names '.*ca.pem', which ") as error:
            client("experimentation", "https://upstream.invalid")
        assert "\n" not in str(error.value)


def test_threads_that_meet_a_refused_key_all_end(fake_server, client):
    asking = client("experimentation", fake_server(Response(status=401, body={"error": json.dumps(KEY)})).url)
    errors = []

    def ask():
        try:
            asking.get()
        except AuthenticationError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 4
    assert not any(KEY in str(error) for error in errors)


def test_a_read_error_is_raised_for_what_is_no_list(fake_server, client):
    assert isinstance(error_of(client, fake_server(Response(body="[" * 100_000)).url), ReadError)
