"""The local databases of Prefect and MLflow, made before a night needs them: their first migrations take a while.

Where a server is named (PREFECT_API_URL, MLFLOW_TRACKING_URI with http), its database is its own business.
"""

from __future__ import annotations

import os
import subprocess
import sys

from infra.errors import NightshiftError


def make_databases() -> list[str]:
    """Make or update those of the databases that are this machine's; their names.

    Call after `apply_environment` and `infra.tracking.configure`. Raises NightshiftError when Prefect's cannot be made.
    """
    made, prefect = [], None
    if not os.environ.get("PREFECT_API_URL"):
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        prefect = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        made.append("Prefect")
    if not os.environ["MLFLOW_TRACKING_URI"].startswith("http"):
        from infra.tracking import client

        client().search_experiments(max_results=1)  # MLflow makes its tables when it is first asked anything
        made.append("MLflow")
    if prefect is not None:
        _, said = prefect.communicate()
        if prefect.returncode:
            why = said.strip().splitlines() or [f"exit code {prefect.returncode}"]
            raise NightshiftError(f"Prefect's database could not be made: {why[-1].strip()}")
    return made
