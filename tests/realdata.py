"""Where samples of public benchmarks lie: the folder NIGHTSHIFT_REALDATA, else shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("NIGHTSHIFT_REALDATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SPIDER = FOLDER / "spider"
