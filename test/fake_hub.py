# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A hub on this machine that serves folders as the commits of one repository."""

from contextlib import contextmanager
import hashlib
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
import json
import threading
from urllib.parse import unquote
from urllib.parse import urlsplit


class FakeHub:
    """The commits of the hub; ``requests`` are the requested paths."""

    def __init__(self):
        self.commits, self.main, self.requests, self.url = {}, '', [], ''

    def respond(self, path):
        """Return the body and the headers of a response, or None."""
        parts = [unquote(part) for part in urlsplit(path).path.strip('/').split('/')]
        if parts[:2] == ['api', 'models'] and len(parts) == 6:
            commit = self.main if parts[5] == 'main' else parts[5]
            if commit not in self.commits:
                return None
            files = sorted(self.commits[commit].iterdir())
            if parts[4] == 'revision':
                body = {'id': 'team/robot', 'sha': commit, 'siblings': [
                    {'rfilename': file.name} for file in files]}
            else:
                body = [{'type': 'file', 'path': file.name, 'size': file.stat().st_size,
                         'oid': self.digest(file)} for file in files]
            return json.dumps(body).encode(), {'Content-Type': 'application/json'}
        if parts[2:3] == ['resolve']:
            file = self.commits[parts[3]] / parts[4]
            return file.read_bytes(), {'ETag': f'"{self.digest(file)}"',
                                       'X-Repo-Commit': parts[3]}
        return None

    @staticmethod
    def digest(file):
        return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serve():
    """Run a hub during a with block."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):  # noqa: N802  the name is http.server's
            hub.requests.append(self.path)
            found = hub.respond(self.path)
            body, headers = found if found else (b'{"error": "not there"}', {})
            self.send_response(200 if found else 404)
            for name, value in {**headers, 'Content-Length': str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != 'HEAD':
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    hub.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
