"""A local server that speaks OpenAI's protocol and answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer:
    """Answers with what `reply(request)` gives: a text, or (status, body, headers)."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.reply: Callable[[dict[str, Any]], Any] = lambda request: "SELECT 1"
        self.busy = self.most_busy = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                request = {"path": self.path, "key": self.headers.get("authorization"), **body}
                with lock:
                    outer.requests.append(request)
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                reply = outer.reply(request)
                with lock:
                    outer.busy -= 1
                if isinstance(reply, str):
                    choice = {"message": {"content": reply}} if "messages" in request else {"text": reply}
                    reply = (200, json.dumps({"choices": [choice], "usage": {"completion_tokens": 3}}), {})
                status, text, headers = reply
                self.send_response(status)
                for name, value in ({"content-length": str(len(text.encode()))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
