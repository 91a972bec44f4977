"""The same as a server: its argument is the port."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from worker import run


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        length = int(self.headers["content-length"])
        self.answer(run(json.loads(self.rfile.read(length))))

    def answer(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"value": value}).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
