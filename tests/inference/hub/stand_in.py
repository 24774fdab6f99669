"""A hub on localhost that serves one repository as the real one does: metadata by
HEAD, large files by redirection, ranges, gating. Can be made to misbehave."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import serve_in_thread

COMMIT = "c0ffee" + "0" * 34
TOKEN, STRANGER, NARROW = "hf_good", "hf_stranger", "hf_narrow"
LARGE = (".safetensors", ".model", ".tgz")
PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class StandInHub:
    """``files`` may be changed at any time; ``requests`` tells what was asked for."""

    def __init__(self, repository, files, gated=False):
        self.repository, self.files, self.gated = repository, dict(files), gated
        self.requests = []
        self.cuts = {}  # file: numbers of bytes after which each answer breaks off
        self.cut, self.stalled = threading.Event(), threading.Event()
        self.stalled.set()  # cleared: what is cut neither continues nor ends
        self.corrupt = set()  # files whose content differs from their checksum
        self.revisions = {"main", COMMIT}
        self.ignores_ranges = self.fails = self.no_checksums = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def do_HEAD(self):
                hub.answer(self)

            do_GET = do_HEAD

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = serve_in_thread(self.server)
        return self

    def __exit__(self, *_):
        self.stalled.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        span = request.headers.get("range", "")
        self.requests.append((request.command, request.path, token, span))
        if request.path.startswith("/cdn/"):
            return self.send(request, request.path.removeprefix("/cdn/"), span)
        found = PATH.fullmatch(request.path)
        problem = self.problem(found, token)
        if problem is not None:
            status, code, message = problem
            headers = {"X-Error-Code": code, "X-Error-Message": message}
            return self.say(request, status, headers)
        return self.offer(request, found["file"], span)

    def problem(self, found, token):
        if self.fails:
            return 503, "", "Service unavailable"
        if token and token not in (TOKEN, STRANGER, NARROW):
            return 401, "", "Invalid credentials in Authorization header"
        if found is None or found["repo"] != self.repository:
            return (404 if token else 401), "RepoNotFound", "Repository not found"
        if self.gated and not token:
            return 401, "GatedRepo", "Access to model is restricted"
        if self.gated and token == STRANGER:
            return 403, "GatedRepo", "You are not in the authorized list"
        if self.gated and token == NARROW:
            return 403, "", "Please enable access to public gated repositories"
        if found["revision"] not in self.revisions:
            return 404, "RevisionNotFound", "Invalid rev id"
        if found["file"] not in self.files:
            return 404, "EntryNotFound", "Entry not found"
        return None

    def offer(self, request, file, span):
        content = self.files[file]
        headers = {"X-Repo-Commit": COMMIT}
        if self.no_checksums:
            headers["ETag"] = '"abc"'
            return self.say(request, 200, headers, content)
        if not file.endswith(LARGE):
            blob = b"blob %d\0" % len(content) + content
            headers["ETag"] = f'"{hashlib.sha1(blob).hexdigest()}"'
            return self.say(request, 200, headers, content)
        headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        headers["X-Linked-Size"] = str(len(content))
        # As the real one: signed, on another host. "localhost" is another host.
        port = self.server.server_port
        headers["Location"] = f"http://localhost:{port}/cdn/{file}"
        return self.say(request, 302, headers)

    def send(self, request, file, span):
        content = self.files[file]
        if file in self.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers, status, start = {}, 200, 0
        if span and not self.ignores_ranges:
            start = int(span.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = (
                f"bytes {start}-{len(content) - 1}/{len(content)}"
            )
            status = 206
        cuts = self.cuts.get(file, [])
        cut = cuts.pop(0) if cuts else None
        self.say(request, status, headers, content[start:], cut)

    def say(self, request, status, headers, content=b"", cut=None):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content[:cut])
        if cut is not None:
            self.cut.set()
            self.stalled.wait()
            request.close_connection = True
