"""A page process whose answers tests decide, on a Unix socket."""

import hashlib
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

from tests.serving import serve_in_thread

PIECE = bytes(65_536)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A web process that hangs up is what some tests are about."""

    request_queue_size = 256


class StandIn:
    def __init__(self, path):
        self.asked = []  # method, path, headers, size and SHA-1 of the body
        self.at_once = self.most_at_once = 0
        self.go_on = threading.Event()
        self.cut_off = threading.Event()
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self):
                return ""

            def log_message(self, *about):
                pass

            def do_GET(self):
                with stand_in.counted():
                    body = self.read_body()
                    stand_in.asked.append((self.command, self.path, self.headers, body))
                    name = self.path.split("?")[0].strip("/").replace("/", "_")
                    getattr(stand_in, name, stand_in.echo)(self)

            do_POST = do_PUT = do_HEAD = do_GET

            def read_body(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b"".join(self.chunks())
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                return len(body), hashlib.sha1(body).hexdigest()

            def chunks(self):
                while size := int(self.rfile.readline() or b"0", 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def answer(self, body, **headers):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = Server(str(path), Handler)
        serve_in_thread(self.server)

    def counted(self):
        return _Counting(self)

    def echo(self, handler):
        handler.answer(json.dumps("echo").encode(), X_Page="yes", Connection="close")

    def stuck(self, handler):
        self.go_on.wait(60)
        handler.answer(b"went on")

    def endless(self, handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        except OSError:
            self.cut_off.set()

    def pieces(self, handler):
        """The second one only after the test has read the first."""
        handler.send_response(200)
        handler.send_header("Content-Length", "12")
        handler.end_headers()
        handler.wfile.write(b"first ")
        handler.wfile.flush()
        self.go_on.wait(60)
        handler.wfile.write(b"second")

    def broken(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class _Counting:
    def __init__(self, stand_in):
        self.stand_in = stand_in

    def __enter__(self):
        with self.stand_in._lock:
            self.stand_in.at_once += 1
            most = max(self.stand_in.most_at_once, self.stand_in.at_once)
            self.stand_in.most_at_once = most

    def __exit__(self, *error):
        with self.stand_in._lock:
            self.stand_in.at_once -= 1
