"""Settings and MLflow for commands that need both."""

from __future__ import annotations

from infra.settings import Settings, apply_environment, load_settings


def connected() -> Settings:
    """The settings, with the environment applied and MLflow configured."""
    from flows.tracking import connect_tracking

    settings = load_settings()
    apply_environment(settings)
    connect_tracking(settings)
    return settings
