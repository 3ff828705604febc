"""Names of the judges that come with Tandem, and the folder with the starter judge's adapter, data and card.

Knows no model: `genrm_engine.embedded` makes judges of what lies here.
"""

from pathlib import Path

BASE = "embedded-base"
"""The embedded model as it is, untuned."""
STARTER = "embedded"
"""The embedded model with the starter adapter."""
EMBEDDED = (STARTER, BASE)
STARTER_VERSION = "starter-1"
"""Name of the starter judge's folder; a new adapter gets a new name, because judges never change."""
ADAPTER = Path(__file__).parent / "adapter"
FOLDERS = {STARTER: f"judges/{STARTER_VERSION}", BASE: f"judges/{BASE}"}
"""Where a data folder keeps the two, once they are made."""
