"""Servers that several tests start for themselves, on the loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: float = 60) -> None:
    """Return once something listens on the port."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.1)


def stop_server(server: subprocess.Popen[bytes], gently: int = signal.SIGTERM, seconds: float = 20) -> None:
    """Ask a server to end, and end it when it has not within `seconds`."""
    server.send_signal(gently)
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server (moto's) without a bucket: the environment that points to it."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        stop_server(server)


@contextmanager
def s3_bucket(name: str) -> Iterator[str]:
    """A bucket on a server of its own, which this process's boto3 finds through the environment."""
    import boto3
    import pytest

    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        boto3.client("s3").create_bucket(Bucket=name)
        yield name


class Gate:
    """A port that leads to another one until it is shut: then connections are cut and refused, as by a dead server.

    For servers that lose what they hold when they are stopped.
    """

    def __init__(self, port: int) -> None:
        self.target, self.port = port, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Gate:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        """Listen, and lead whoever comes to the target."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections and cut those that are open."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._open = self._open, set()
        if listener is not None:
            _cut(listener)
        for end in ends:
            _cut(end)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    _cut(near)
                    return
                far = socket.create_connection(("127.0.0.1", self.target))
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            self._open -= {source, sink}
        _cut(source)
        _cut(sink)


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def s3_gate() -> Iterator[tuple[Gate, dict[str, str]]]:
    """An S3 server behind a gate, and the environment that points to the gate."""
    with s3_server() as environment, Gate(int(environment["AWS_ENDPOINT_URL"].rpartition(":")[2])) as gate:
        yield gate, environment | {"AWS_ENDPOINT_URL": gate.url, "MLFLOW_S3_ENDPOINT_URL": gate.url}
