"""What the service counts, in Prometheus' text format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from registry.service.engine import Engine

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service; figures that the engine holds are read when they are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._registry = registry = CollectorRegistry()
        self.answers = Counter(
            "nightshift_answers",
            "Questions answered, by version and outcome (valid, invalid, failed: valid but did not run).",
            ["version", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "nightshift_answer_seconds", "From request to answer.", buckets=_SECONDS, registry=registry
        )
        self.refused = Counter("nightshift_refused", "Questions refused because too many waited.", registry=registry)
        self.feedback = Counter(
            "nightshift_feedback", "Judgements on answers.", ["verdict", "signed"], registry=registry
        )
        self._release = Gauge(
            "nightshift_serving_info", "The release that answers.", ["release", "version"], registry=registry
        )
        for name, about, value in (
            ("nightshift_waiting_requests", "Requests that wait for their turn.", lambda: engine.waiting),
            ("nightshift_behind_production", "1 while a newer release cannot be loaded.", lambda: bool(engine.trouble)),
            ("nightshift_switches", "Releases switched to since the start.", lambda: engine.switches),
            ("nightshift_failed_switches", "Attempts to switch that failed.", lambda: engine.failed_switches),
        ):
            Gauge(name, about, registry=registry).set_function(value)
        self._engine = engine

    def count(self, document: dict[str, Any]) -> None:
        """Count one answer."""
        outcome = "invalid" if not document["valid"] else "valid" if document["status"] in ("ok", None) else "failed"
        self.answers.labels(document["version"], outcome).inc()

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        self._release.clear()
        self._release.labels(self._engine.served.release, self._engine.served.version).set(1)
        return generate_latest(self._registry)
