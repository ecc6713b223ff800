"""A mirror of the hub on this machine: a folder OWNER/REPO/COMMIT/FILE, served as huggingface_hub expects it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from maskbench.digest import bytes_sha256


class Mirror(ThreadingHTTPServer):
    """The server; ``asked`` lists every request, and ``url`` is what HF_ENDPOINT takes."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.asked = root, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal."""

    def _answer(self, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = unquote(self.path).strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return self._refuse("RepoNotFound")
        owner, name, _, revision, *file = parts
        repository = self.server.root / owner / name
        commit = repository / revision
        path = commit.joinpath(*file)
        for found, code in ((repository, "RepoNotFound"), (commit, "RevisionNotFound"), (path, "EntryNotFound")):
            if not found.exists():
                return self._refuse(code, revision)
        data = path.read_bytes()
        self.send_response(200)
        # The hub's is that of the committed file, whatever bytes arrive: so is this one, which knows no bytes.
        self.send_header("ETag", f'"{bytes_sha256(self.path.encode())}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _refuse(self, code: str, revision: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if code == "EntryNotFound":
            self.send_header("X-Repo-Commit", revision)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(root: Path) -> Iterator[Mirror]:
    """A mirror of ``root`` until the end of the block; afterwards its port refuses connections."""
    mirror = Mirror(root)
    thread = threading.Thread(target=mirror.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        mirror.shutdown()
        mirror.server_close()
        thread.join()
