"""The page of a run that may be under way, served to browsers on this machine only.

Other web pages and other users of the machine cannot read it: its path is random, it answers for
no other name than its own, and it gives nothing but this one page.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from dspy_gepa.errors import JournalError
from dspy_gepa.story.stored import story_in
from dspy_gepa.views.page.page import page_of

__all__ = ["LiveServer", "serve_page"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def serve_page(folder: Path) -> None:
    """Serve the page of this run directory until Ctrl-C. The run goes on."""
    with LiveServer(folder) as server:
        print(f"{server.address}   Ctrl-C ends this view; the run goes on.", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


class LiveServer(ThreadingHTTPServer):
    """Serves one page, made anew when the journal or the outcome has another size."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path = f"/{secrets.token_urlsafe(12)}/"
        self._folder = folder
        self._lock = Lock()
        self._tag = ""
        self._page = b""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which it answers. Another one is that of a page that wants to read it."""
        return (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}")

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.hosts[0]}{self.path}"

    def page(self) -> tuple[str, bytes]:
        """What stands for this state of the run, and its page."""
        with self._lock:
            files = [self._folder / name for name in ("events.jsonl", "outcome.json")]
            sizes = [path.stat().st_size if path.exists() else 0 for path in files]
            tag = f'"{"-".join(map(str, sizes))}"'
            # Where it cannot be read at this moment, the page stays as it was.
            with suppress(*((JournalError,) if self._page else ())):
                if tag != self._tag:
                    self._page = page_of(story_in(self._folder), is_live=True).encode()
                    self._tag = tag
            return self._tag, self._page


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    server_version = "dspy-gepa"
    sys_version = ""

    def do_GET(self) -> None:
        """Give the page, or nothing."""
        if self.headers.get("Host") not in self.server.hosts:
            self._answer(421)
        elif self.path != self.server.path:
            self._answer(404)
        else:
            tag, page = self.server.page()
            if self.headers.get("If-None-Match") == tag:
                self._answer(304, tag=tag)
            else:
                self._answer(200, page, tag)

    def _answer(self, status: int, page: bytes = b"", tag: str = "") -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if tag:
            self.send_header("ETag", tag)
        if status == 200:
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Nothing: the terminal is the user's."""
