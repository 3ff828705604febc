"""Take a trained adapter over as the starter judge: `python scripts/adopt_starter.py RUN/judge`.

Only the adapter's weights, its configuration and how it was made are kept; the tokenizer is the base model's.
"""

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genrm_engine.starter import ADAPTER  # noqa: E402
from genrm_engine.weights import check_manifest, write_manifest  # noqa: E402

KEPT = ("adapter_model.safetensors", "adapter_config.json", "run.json")
LARGEST = 10 * 1000**2


def adopt(judge: Path) -> None:
    """Copy the checked files and write their manifest; ends with a message where the adapter is too large."""
    check_manifest(judge)
    size = (judge / KEPT[0]).stat().st_size
    if size > LARGEST:
        sys.exit("The adapter has %.1f MB, at most %.0f are shipped." % (size / 1e6, LARGEST / 1e6))
    ADAPTER.mkdir(exist_ok=True)
    for name in KEPT:
        shutil.copy(judge / name, ADAPTER / name)
    about = json.loads((ADAPTER / "run.json").read_text(encoding="utf-8"))
    about["config"]["model"] = Path(about["config"]["model"]).name  # not where it lay on this machine
    (ADAPTER / "run.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_manifest(ADAPTER)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/adopt_starter.py RUN/judge")
    adopt(Path(sys.argv[1]))
