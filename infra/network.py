"""Small questions to servers: is it the loopback, does something listen there, what does it answer?"""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import urllib.request
from typing import Any


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def taken(host: str, port: int) -> bool:
    """Whether something listens on the port already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def ask(url: str, auth: str = "", body: bytes | None = None) -> Any:
    """The JSON that a server answers, or None when it does not answer well; `auth` is user:password, for HTTP Basic."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def answers(url: str) -> bool:
    """Whether a server answers JSON at `url`."""
    return ask(url) is not None
