"""A service for the launcher's tests: answers 200 on its port until told to do otherwise by its arguments.

Usage: ``stand_in.py PORT [die|stubborn|never-ready]``
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the status that the mode asks for; ``/die`` ends the process."""

    def do_GET(self) -> None:
        if self.path == "/die":
            say("going down")
            os._exit(3)
        self.send_response(503 if MODE == "never-ready" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def leave(*_: object) -> None:
    say('{"level": "warning", "event": "service.stopped"}')
    sys.exit(0)


MODE = sys.argv[2] if len(sys.argv) > 2 else ""
signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "stubborn" else leave)
if MODE == "die":
    sys.exit("cannot start: a setting is missing")
say('{"level": "info", "event": "service.started"}')
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
