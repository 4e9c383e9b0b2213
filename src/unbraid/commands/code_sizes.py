"""Reconstruction error by size of the code: what the runs of a sweep say together."""

import csv
import json
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from unbraid import pictures
from unbraid.files import written_whole

COLUMNS = ("code size", "error", "deviation", "PCA", "runs")


class CodeSizes(Callback):
    """When a sweep of autoencoders ends, leaves `code_sizes.csv` and `code_sizes.png` in its folder."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        found: dict[int, list[Path]] = {}
        for path in sorted(folder.glob("*/scores.json"), key=lambda path: int(path.parent.name.split("-")[0])):
            found.setdefault(json.loads(path.read_text())["code_size"], []).append(path)
        if not found:
            return
        rows = [_row(size, paths) for size, paths in sorted(found.items())]
        with written_whole(folder / "code_sizes.csv") as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows)
        first = {row["code size"]: found[row["code size"]][0].parent / "pictures" / "reconstructions.png" for row in rows}
        pictures.code_sizes(folder / "code_sizes.png", rows, first)
        print(f"\n{'code size':>9}{'autoencoder':>22}{'PCA':>10}{'against PCA':>14}")
        for row in rows:
            share = row["error"] / row["PCA"] - 1
            print(f"{row['code size']:>9}{row['error']:>12.2f} ± {row['deviation']:<7.2f}{row['PCA']:>10.2f}{share:>+14.0%}")
        print(f"\nsquared error of the test data, mean of {rows[0]['runs']} runs; look  {folder / 'code_sizes.png'}")


def _row(size: int, paths: list[Path]) -> dict[str, Any]:
    """Of all runs with a code of this size, and all sources in them."""
    scores = [json.loads(path.read_text()) for path in paths]
    own, linear = ([fmean(s["error"]["mean"] for s in one[row].values()) for one in scores] for row in ("summary", "pca"))
    return dict(zip(COLUMNS, (size, fmean(own), pstdev(own), fmean(linear), len(paths)), strict=True))
