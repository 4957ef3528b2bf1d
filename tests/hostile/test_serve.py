"""`report --serve`: one page on 127.0.0.1, under our own name only, and nothing else whatever is asked."""

import http.client
import re
import socket
import threading

import pytest
from hostile import PAYLOADS

from interplay.cli.serve import PageServer, serve_page
from interplay.errors import InterplayError
from interplay.report import render

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.fixture(scope="module")
def page(fixture_payload):
    return render(fixture_payload.make_payload(probes=1, readings=("paper",)))


@pytest.fixture(scope="module")
def server(page):
    with PageServer(page.encode("utf-8")) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def ask(server, path="/", method="GET", host=None, body=None):
    """(status, headers, body) of one request with a Host header of our choice; `host` "" leaves it out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def raw(server, request: bytes) -> bytes:
    """What comes back for bytes that no client of ours would send."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while part := connection.recv(65536):
            said += part
    return said


@pytest.mark.parametrize("path", ["/", "/report.html"])
def test_the_page_and_its_headers(server, page, path):
    status, headers, body = ask(server, path)
    assert (status, body) == (200, page.encode("utf-8"))
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'; "
        r"frame-ancestors 'none'",
        headers["Content-Security-Policy"],
    )
    assert headers["Server"] == "interplay"
    assert headers["Access-Control-Allow-Origin"] is None


def test_head_has_the_headers_alone(server, page):
    status, headers, body = ask(server, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(page.encode("utf-8"))))


def test_it_listens_on_127_0_0_1_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"
    assert server.socket.family == socket.AF_INET


OTHERS = ["/settings.yaml", "/../", "/..", "/%2e%2e/", "/report.html/", "/?x", "/report.html?x=1", "/favicon.ico", "/units",
          "/./report.html", "*", "http://127.0.0.1/", "/report.html%00", "/REPORT.HTML", "/index.html", "/#"]  # fmt: skip


@pytest.mark.parametrize("path", OTHERS)
def test_all_else_is_not_found(server, path):
    status, headers, body = ask(server, path)
    assert (status, body) == (404, b"not found: the one page is at /\n")
    assert {name: headers[name] for name in HEADERS} == HEADERS


def test_no_path_out_of_the_data_is_found_or_repeated(server):
    for payload in PAYLOADS:
        path = re.sub("[^\x21-\x7e]", "", payload.text)[:2000]
        answer = raw(server, f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1] == (b"200" if path == "" else b"404"), payload.name
        assert b"__hit" not in answer or path == ""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_our_own_names(server, name):
    assert ask(server, host=f"{name}:{server.server_port}")[0] == 200
    assert ask(server, host=name)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost.evil.example", "127.0.0.1:1",
     "localhost:1", "[::1]:{port}", "0.0.0.0:{port}", "127.0.0.2:{port}", "me@127.0.0.1:{port}", "127.0.0.1:{port}, evil.example",
     "LOCALHOST.:{port}", "2130706433:{port}", "x y"],
)  # fmt: skip
def test_another_name_is_misdirected(server, host):
    """A page of another site can point its own name at 127.0.0.1; the browser then sends that name."""
    status, _, body = ask(server, host=host.format(port=server.server_port))
    assert (status, body) == (421, b"this server is 127.0.0.1 and localhost only\n")


def test_two_names_are_misdirected(server):
    said = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert said.startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "FOO", "<script>"])
def test_reading_is_all_that_is_allowed(server, method):
    said = raw(server, f"{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab".encode())
    assert said.startswith(b"HTTP/1.0 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in said
    assert method.encode() not in said.split(b"\r\n\r\n", 1)[1]


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / XTTP/1.1\r\n\r\n", b"GET /" + b"x" * 70_000,
     b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"\r\n", b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"X" * 70_000],
)  # fmt: skip
def test_what_is_no_request_gets_no_page_and_the_server_goes_on(server, request_bytes):
    said = raw(server, request_bytes)
    assert b"<html" not in said
    assert ask(server)[0] == 200


def test_nothing_of_a_request_is_printed(server, capfd):
    raw(server, b"GET /\x1b]52;c;x\x07 HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n")
    ask(server, "/nowhere")
    raw(server, b"\xff\xfe")
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_refused_in_one_line(server):
    with pytest.raises(InterplayError, match=f"cannot serve on port {server.server_port}: .*--port") as refused:
        PageServer(server.page, server.server_port)
    assert "\n" not in str(refused.value)
    with pytest.raises(InterplayError, match="cannot serve on port 70000"):
        PageServer(server.page, 70000)


def test_a_page_without_a_policy_is_not_served():
    with pytest.raises(InterplayError, match="no Content-Security-Policy"):
        PageServer(b"<html>")


def test_the_address_is_printed_and_ctrl_c_ends_it(page, monkeypatch, capsys):
    def interrupted(self, poll_interval=0.5):
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    serve_page(page)
    out, err = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", out)
    assert err == "interplay: stopped\n"


@pytest.mark.browser
def test_the_page_works_in_a_browser_and_loads_nothing_else(server, chromium):
    context = chromium.new_context()
    tab = context.new_page()
    said, asked = [], []
    tab.on("console", lambda m: said.append(m.text))
    tab.on("pageerror", lambda e: said.append(str(e)))
    context.on("request", lambda r: asked.append(r.url))
    tab.goto(server.url)
    assert tab.locator("#ex-chords svg .chord").count() > 0  # its own script may run
    assert said == []
    assert [url for url in asked if not url.endswith("/favicon.ico")] == [server.url]
    context.close()


def test_the_verb_serves_the_page_of_a_run_and_writes_nothing(call, tmp_path, monkeypatch):
    """The page is the one that `report` writes; the run folder stays as it is."""
    from poison import hostile_run

    run = hostile_run(tmp_path / "run", ("a", "b", "c"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    served = []
    monkeypatch.setattr("interplay.cli.serve.serve_page", lambda page, port=0: served.append((page, port)))
    done = call("report", run, "--serve", "--port", "8123")
    assert (done.code, done.err) == (0, "")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert call("report", run, "--out", tmp_path / "page.html").code == 0
    assert served == [((tmp_path / "page.html").read_text(encoding="utf-8"), 8123)]
    both = call("report", run, "--serve", "--out", tmp_path / "x.html")
    assert both.code == 2
    assert "--out and --serve exclude each other" in both.err
    alone = call("report", run, "--port", "8123")
    assert alone.code == 2
    assert "--port is for --serve" in alone.err


def test_a_folder_that_is_no_run_is_refused_before_serving(call, tmp_path):
    done = call("report", tmp_path, "--serve")
    assert done.code == 2
    assert "is no run folder" in done.err
