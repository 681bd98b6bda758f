"""A file server on this machine for tests of downloading: it knows Range, and its faults are switched on one by one."""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Fault:
    """What one request gets in place of a good answer. ``value`` is the number of bytes, the status, or an address.

    ``cut``: the connection closes after ``value`` bytes of the body. ``stall``: it stays open and silent after them.
    ``shorten``: only the first ``value`` bytes of the file, declared as its whole length. ``status``: that status.
    ``html``: a web page with status 200. ``redirect``: to ``value``. ``no_range``: the whole file although a range was
    asked. ``undeclared``: no length. ``chunked``: in chunks. ``wrong_range``: another range than was asked.
    """

    kind: str
    value: object = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked and how many bytes of body were sent."""

    path: str
    range: str | None
    status: int = 0
    sent: int = 0


class FileServer:
    """Serves the files of ``folder``; each entry of ``faults`` is used up by one request, in order."""

    def __init__(self, folder: Path, etags: bool = True):
        self.folder, self.etags = Path(folder), etags
        self.faults: list[Fault | None] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()

    def __enter__(self) -> "FileServer":
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"

    @property
    def sent(self) -> int:
        """The bytes of body sent in answer to every request so far."""
        return sum(request.sent for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FileServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        owner = self.owner
        self.request_noted = Request(self.path, self.headers.get("Range"))
        owner.requests.append(self.request_noted)
        fault = (owner.faults.pop(0) if owner.faults else None) or Fault("none")
        target = owner.folder / self.path.lstrip("/")
        if fault.kind == "status":
            return self._answer(fault.value, b"busy", fault.headers)
        if fault.kind == "html":
            page = b"<!DOCTYPE html><html><body>Please log in</body></html>"
            return self._answer(200, page, {"Content-Type": "text/html"})
        if fault.kind == "redirect":
            return self._answer(302, b"", {"Location": fault.value})
        if not target.is_file():
            return self._answer(404, b"no such file")
        content = target.read_bytes()
        if fault.kind == "shorten":
            content = content[: fault.value]
        headers = dict(fault.headers)
        if owner.etags:
            headers["ETag"] = f'"{hashlib.md5(target.read_bytes()).hexdigest()}"'
        status, body = 200, content
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        if asked and fault.kind != "no_range" and if_range in (None, headers.get("ETag")):
            start = int(asked[1])
            if start >= len(content):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            status, body = 206, content[start:]
            shown = start + 1 if fault.kind == "wrong_range" else start
            headers["Content-Range"] = f"bytes {shown}-{len(content) - 1}/{len(content)}"
        return self._answer(status, body, headers, fault)

    def _answer(self, status: int, body: bytes, headers: dict | None = None, fault: Fault | None = None) -> None:
        kind = fault.kind if fault else "none"
        self.request_noted.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif kind != "undeclared":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        body = body[: fault.value] if kind in ("cut", "stall") else body
        try:
            for first in range(0, len(body), 1 << 16):
                piece = body[first : first + (1 << 16)]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if kind == "chunked" else piece)
                self.request_noted.sent += len(piece)
            if kind == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except ConnectionError:
            return
        if kind == "stall":
            self.owner.closing.wait(30)
