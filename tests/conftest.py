"""Paths for every tier: the fake of Triton's module stands in wherever no Triton runs the code."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "fakes"))
