"""Where the repository keeps its data, and where a reader's machine keeps downloads."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LABKIT_DATA", ROOT / "data"))
CACHE = Path(os.environ.get("LABKIT_CACHE", Path.home() / ".cache" / "labkit"))
