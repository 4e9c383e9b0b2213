"""Simulate listeners of a listening test, so that lesson 9 can compute the results of a test without people."""

import json
from pathlib import Path

import numpy as np

from unbraid.reports.mushra import MADE_BY
from unbraid.reports.mushra_results import read_key, scores_of_items
from unbraid.runs.files import atomic_write
from unbraid.scoring.listening_tests import HIGHEST


def simulate(test: Path, file: Path, seed: int, attentive: bool = True) -> Path:
    """Write the ratings of a simulated listener in the format of the listening page.

    An attentive listener gives the hidden reference 95 to 100 points, each anchor about 25 points, and each system a rating
    that rises with the first measure of its scores. Another listener gives random ratings.

    Args:
        test: folder of the listening test.
        file: JSON file to write.
        seed: random seed of the listener.
        attentive: whether the ratings follow the sound.

    Returns:
        The file.
    """
    key = read_key(test)
    table = next(iter(scores_of_items(key).values()))
    generator = np.random.default_rng(seed)
    items = []
    for item, scores in zip(key.items, table, strict=True):
        centres = {0: 98.0} | dict.fromkeys(range(1, len(key.names)), 25.0) | dict(zip(key.runs, 45 + 4 * scores, strict=True))
        ratings = [centres[number] + generator.normal(0, 1 if number == 0 else 5) for number in range(len(key.names))]
        if not attentive:
            ratings = list(generator.uniform(0, HIGHEST, len(key.names)))
        rounded = np.clip(np.rint(ratings), 0, HIGHEST).astype(int).tolist()
        items.append({"item": item["item"], "ratings": dict(zip(item["stimuli"], rounded, strict=True))})
    name = f"{'attentive' if attentive else 'random'} {seed}"
    content = {"made_by": MADE_BY, "test": key.test, "session": f"simulated-{seed}", "listener": name, "items": items}
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(content))
    return file
