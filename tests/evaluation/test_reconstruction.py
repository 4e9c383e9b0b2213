"""Test the rows of the pictures of an autoencoder, and the table of its errors."""

import pytest
import torch

from unbraid.data.digits import Digits
from unbraid.evaluation import pictures
from unbraid.evaluation.reconstruction import Reconstructions
from unbraid.evaluation.reconstruction_scores import report
from unbraid.models.corruptions import Gaussian
from unbraid.models.features import Pixels
from unbraid.models.losses import SquaredError
from unbraid.nets.autoencoders import VariationalAutoencoder
from unbraid.tasks.reconstruction import VariationalTask


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Rows of each picture by file name, and the scores."""
    seen = {}
    monkeypatch.setattr(pictures, "rows", lambda path, shown, *look: seen.update({path.name: shown}))
    torch.manual_seed(0)
    features = Pixels(8)
    net = lambda size: VariationalAutoencoder(size, 2, [16])  # noqa: E731
    net.takes = "vectors"
    task = VariationalTask(features, net, Gaussian(0.5), SquaredError(), torch.optim.Adam, kl_weight=0.1, kl_warmup_epochs=0)
    data = Digits(root=None, size=8, valid=0.1, batch_size=64, seed=0)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    seen["scores"] = Reconstructions(12, 0, "input", 1, 0.0).scores(task, data, tmp_path, lambda batches: batches[:1])
    return seen


def test_original_and_corrupted_images_are_named(drawn):
    rows = drawn["reconstructions.png"]
    assert list(rows) == ["original", "corrupted", "rebuilt", "PCA"]
    assert rows["original"].min() >= 0 and rows["original"].max() <= 1 and rows["corrupted"].min() < 0


def test_samples_have_the_scale_of_test_data(drawn):
    rows = drawn["samples.png"]
    assert list(rows) == ["test data", "samples 1-12", "samples 13-24"]
    assert torch.equal(rows["test data"], drawn["reconstructions.png"]["original"])  # the first row sets the colour scale
    assert {len(images) for images in rows.values()} == {12}


@pytest.mark.parametrize(("kind", "item"), [("images", "an image"), ("audio", "a frame")])
def test_table_names_the_item_of_an_error(drawn, kind, item):
    scores = drawn["scores"]
    scores["protocol"]["vectors"] = scores["protocol"]["vectors"].replace("images", kind)
    text = report(scores, "this run")
    assert f"squared error of {item})" in text
    ends = [f"{scores['summary']['images']['error'][key]:.3f}" for key in ("low", "high")]
    assert [line.split()[-2] for line in text.splitlines() if "95 % from" in line or line.split()[0] == "to"] == ends
