"""`interplay report RUN --serve`: one page, from memory, to browsers of this machine alone. No files, no folders, no second page.

Bound to 127.0.0.1. Any web page open in the same browser can send requests there, also under a name of its own that it
points at 127.0.0.1 (DNS rebinding): so the Host header has to be ours, no other origin may read the answer, and nothing can be
changed by a request.
"""

import html
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from interplay.errors import InterplayError

HOST = "127.0.0.1"
PATHS = ("/", "/report.html")
NAMES = (HOST, "localhost")
_PATIENCE = 10  # seconds that a browser may take to send its request [ours]
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


class PageServer(ThreadingHTTPServer):
    """Serves one page at `/` and `/report.html` of 127.0.0.1; `url` says where. A free port where `port` is 0.

    Raises InterplayError where the port cannot be had, or the page has no policy of its own.

    >>> server = PageServer(b'<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;">')
    >>> server.url.startswith("http://127.0.0.1:"), server.headers["Content-Security-Policy"]
    (True, "default-src 'none'; frame-ancestors 'none'")
    >>> server.server_close()
    """

    daemon_threads = True  # an open connection must not keep the command from ending

    def __init__(self, page: bytes, port: int = 0) -> None:
        policy = _POLICY.search(page[:20_000].decode("utf-8", "replace"))
        if policy is None:
            raise InterplayError("the page has no Content-Security-Policy, so it is not served: rebuild it")
        self.page = page
        self.headers = {
            # What a page cannot say of itself in a meta element is that nobody may frame it.
            "Content-Security-Policy": f"{html.unescape(policy[1])}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise InterplayError(
                f"cannot serve on port {port}: {said}; give another with --port, or leave it out"
            ) from error
        self.hosts = {*NAMES, *(f"{name}:{self.server_port}" for name in NAMES)}
        self.url = f"http://{HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the one above asks a name server for our own name
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hung up is no news, and a traceback on the terminal no help."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE

    @property
    def _page(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def do_GET(self) -> None:
        if self.headers.get_all("Host", []) not in [[host] for host in self._page.hosts]:
            self._answer(421, b"this server is 127.0.0.1 and localhost only\n")
        elif self.path not in PATHS:
            self._answer(404, b"not found: the one page is at /\n")
        else:
            self._answer(200, self._page.page, "text/html; charset=utf-8")

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Requests that http.server itself refuses; its own answer would repeat what was asked."""
        self.close_connection = True
        self._answer(405 if code == 501 else int(code), b"refused\n")

    def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        for name, value in self._page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "interplay"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a request line may hold terminal escapes, and whoever opened the page knows that they did."""


def serve_page(page: str, port: int = 0) -> None:
    """Print the page's address and serve it until Ctrl-C, which ends it in one line and without an error."""
    with PageServer(page.encode("utf-8"), port) as server:
        print(server.url, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("interplay: stopped", file=sys.stderr)
