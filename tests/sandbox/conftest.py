"""Makes the folder of hostile programs importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
