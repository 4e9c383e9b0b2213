"""Losses: `loss(estimate, reference)` returns a scalar tensor. The losses of separators take two `Estimate`s."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError


def required_field(estimate: Any, name: str) -> Tensor:
    """Return a field of an estimate.

    Args:
        estimate: an `Estimate`.
        name: name of the field.

    Returns:
        The value of the field.

    Raises:
        InputError: the separator does not estimate this field.
    """
    if (value := getattr(estimate, name)) is None:
        hint = "Choose another loss or another separator."
        raise InputError("model.loss", f"needs an estimate of {name}, which this separator does not return", hint=hint)
    return value


class MagnitudeL1(nn.Module):
    """Compute ‖M ⊙ X − Y‖₁,₁ between estimated and true magnitudes, averaged over bins (Jansson et al., ISMIR 2017).

    The paper sums over bins. With the mean, the value does not depend on batch size or patch size. Adam takes nearly the same
    steps with both, as long as gradients are large compared with its `eps` of 1e-8.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the mean absolute difference. Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        return functional.l1_loss(required_field(estimate, "magnitudes"), reference.magnitudes)


class RelativeMagnitudeL1(nn.Module):
    """Compute ‖M ⊙ X − Y‖₁,₁ divided by ‖X‖₁,₁, averaged over targets. It does not depend on the scale of the magnitudes.

    Use it as a part of a sum of losses. `MagnitudeL1` would be too small there: with `scaling: patch`, the mean of magnitudes
    is about 0.01.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the relative error. Shape: magnitudes [B, S, C, F, T] of both, mixture [B, C, F, T] -> scalar."""
        error = functional.l1_loss(required_field(estimate, "magnitudes"), reference.magnitudes)
        return error / required_field(estimate, "mixture").mean().clamp(min=1e-8)


class SquaredError(nn.Module):
    """Compute ‖x − x̂‖², averaged over items: the training loss and the score of an autoencoder."""

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Return the squared error of an item. Shape: [N, D] both -> scalar."""
        return functional.mse_loss(estimate, reference, reduction="sum") / len(reference)


class BinCrossEntropy(nn.Module):
    """Compute the cross-entropy of bins, averaged over labelled bins (Ronneberger et al., MICCAI 2015, unweighted)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the loss. Label -100 is ignored. Shape: logits [B, classes, F, T], labels [B, F, T] -> scalar."""
        logits, known = required_field(estimate, "logits"), reference.labels >= 0
        total = functional.cross_entropy(logits, reference.labels, reduction="sum")
        return total / known.sum().clamp(min=1)


class DeepClustering(nn.Module):
    """Compute ‖V Vᵀ − Y Yᵀ‖² of embeddings V and classes Y, averaged over pairs of bins (Hershey et al., ICASSP 2016).

    The affinity matrices V Vᵀ and Y Yᵀ are never formed: N bins with D-dimensional embeddings take N D² operations.

    Args:
        kind: `classic`: the loss above; `whitened`: D − tr((Vᵀ V)⁻¹ Vᵀ Y (Yᵀ Y)⁻¹ Yᵀ V), divided by D, which is the loss of
            k-means on whitened embeddings (Wang, Le Roux & Hershey, ICASSP 2018).
    """

    def __init__(self, kind: Literal["classic", "whitened"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the loss, computed in float32. Shape: embeddings [B, D, F, T], labels and weights [B, F, T] -> scalar."""
        embeddings = required_field(estimate, "embeddings")
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._distance(embeddings.float(), reference.labels, reference.weights)

    def _distance(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        weights = weights.flatten(start_dim=1)  # [B, N]
        share = weights.sqrt().unsqueeze(-1)
        v = embeddings.flatten(start_dim=2).transpose(1, 2) * share  # [B, N, D]
        y = functional.one_hot(labels.flatten(start_dim=1)).to(v) * share
        vv, vy, yy = v.mT @ v, v.mT @ y, y.mT @ y
        if self.kind == "classic":
            pairs = weights.sum(dim=1).square().clamp(min=1)
            return ((vv.square().sum((1, 2)) - 2 * vy.square().sum((1, 2)) + yy.square().sum((1, 2))) / pairs).mean()
        size = vv.shape[-1]
        # LU factorization of a batch does not return on some processors, so Cholesky is used.
        regularized = vv + 1e-4 * weights.sum(dim=1).clamp(min=1).view(-1, 1, 1) / size * torch.eye(size).to(vv)
        # A class without bins has a column of zeros in vy and adds nothing.
        inner = torch.cholesky_solve(vy, torch.linalg.cholesky(regularized)).mul(vy).sum(dim=1)
        return (1 - (inner / yy.diagonal(dim1=1, dim2=2).clamp(min=1)).sum(dim=1) / size).mean()


class ChimeraLoss(nn.Module):
    """Compute α · deep clustering + (1 − α) · mask inference (Luo et al., ICASSP 2017).

    Both parts should be of order 1, so that α = 0.5 balances their gradients. `DeepClustering` and `RelativeMagnitudeL1` are.
    Published implementations use values of α between 0.1 and 0.9.

    Args:
        clustering: loss of the embeddings.
        inference: loss of the masks.
        alpha: weight of the clustering loss, in [0, 1].

    Raises:
        InputError: `alpha` is not in [0, 1].
    """

    def __init__(self, clustering: nn.Module, inference: nn.Module, alpha: float) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise InputError("alpha", found=alpha, expected="a number in [0, 1]")
        self.clustering, self.inference, self.alpha = clustering, inference, alpha

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the weighted sum of the two losses. Shape: that of the two losses -> scalar."""
        return self.alpha * self.clustering(estimate, reference) + (1 - self.alpha) * self.inference(estimate, reference)


class MagnitudeMSE(nn.Module):
    """Compute the mean of (M ⊙ X − Y)² over bins, summed over targets: the loss of Open-Unmix (Stöter et al., JOSS 2019).

    With the sum, the network of a target has the same gradient as if it were trained alone. With a mean over targets, the
    gradient would shrink with their number, and weight decay would be relatively stronger.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the squared error. Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        magnitudes = required_field(estimate, "magnitudes")
        return magnitudes.shape[1] * functional.mse_loss(magnitudes, reference.magnitudes)


class WaveformL1(nn.Module):
    """Compute |x̂ − x| of waveforms, averaged over samples (Défossez et al., 2019)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the mean absolute difference. Shape: sources [B, S, C, T] of both -> scalar."""
        return functional.l1_loss(estimate.sources, reference.sources)


class WaveformMSE(nn.Module):
    """Compute (x̂ − x)² of waveforms, averaged over samples."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the mean squared difference. Shape: sources [B, S, C, T] of both -> scalar."""
        return functional.mse_loss(estimate.sources, reference.sources)


class SISDR(nn.Module):
    """Compute the negative scale-invariant SDR in dB, averaged over sources (Le Roux et al., ICASSP 2019).

    All channels of a source share one scale. The loss does not depend on the level of an estimate. Do not judge a network
    that was trained on this loss alone by scores that depend on the level, such as uSDR. 1e-7 is added to the energies, so
    that the loss of silence is finite.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the negative SI-SDR in dB. Shape: sources [B, S, C, T] of both -> scalar."""
        estimated, true = estimate.sources.float().flatten(2), reference.sources.float().flatten(2)
        tiny = 1e-7
        scale = ((estimated * true).sum(-1, keepdim=True) + tiny) / (true.square().sum(-1, keepdim=True) + tiny)
        target = scale * true
        ratio = (target.square().sum(-1) + tiny) / ((estimated - target).square().sum(-1) + tiny)
        return -10 * ratio.log10().mean()


class MultiResolutionSTFT(nn.Module):
    """Compute L1 of waveforms plus L1 of complex spectra at several window sizes (Lu et al., ICASSP 2024; Gusó et al. 2022).

    Args:
        window_sizes: lengths of the Hann windows in samples, each above `hop_length`.
        hop_length: step between frames in samples, the same for all windows.
        n_fft: length of the transforms in samples. Smaller windows are padded with zeros to it; for a larger window, the
            length of the transform is that of the window.
        weight: weight of the sum of the spectral losses. The weight of the waveform loss is 1.

    Raises:
        InputError: there are no windows, or one is too short.
    """

    def __init__(
        self,
        window_sizes: Sequence[int] = (4096, 2048, 1024, 512, 256),
        hop_length: int = 147,
        n_fft: int = 2048,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not window_sizes or min(window_sizes) <= hop_length or hop_length < 1:
            expected = f"sizes above hop_length = {hop_length}, which is at least 1"
            raise InputError("window_sizes", found=list(window_sizes), expected=expected)
        self.hop_length, self.n_fft, self.weight = hop_length, n_fft, weight
        self.sizes = list(window_sizes)
        for size in self.sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the loss. Shape: sources [B, S, C, T] of both, with T above half the largest transform -> scalar."""
        with torch.autocast(estimate.sources.device.type, enabled=False):
            pair = torch.stack([estimate.sources.float(), reference.sources.float()])
            loss = functional.l1_loss(*pair)
            for size in self.sizes:
                loss = loss + self.weight * functional.l1_loss(*self._spectra(pair, size))
        return loss

    def _spectra(self, pair: Tensor, size: int) -> Tensor:
        samples, n_fft = pair.shape[-1], max(size, self.n_fft)
        if samples <= n_fft // 2:
            expected = f"more than {n_fft // 2} samples for a transform of {n_fft} samples"
            raise InputError("window_sizes", "the chunk is too short", found=f"{samples} samples", expected=expected)
        window = self.get_buffer(f"window_{size}")
        spectra = torch.stft(pair.reshape(-1, samples), n_fft, self.hop_length, size, window, return_complex=True)
        return spectra.unflatten(0, (2, -1))


class MultiScaleSpectral(nn.Module):
    """Compute Σᵢ ‖Sᵢ − Ŝᵢ‖₁ + α ‖log Sᵢ − log Ŝᵢ‖₁ of magnitudes Sᵢ at several resolutions i (Engel et al., ICLR 2020).

    Both norms are means over bins, so that the value does not depend on the length. Hann windows overlap by 75 %.

    Args:
        fft_sizes: lengths of the windows and transforms in samples, at least 4.
        alpha: weight of the logarithmic part, at least 0.

    Raises:
        InputError: an argument is out of range.
    """

    FLOOR = 1e-5  # added before the logarithm, as in the authors' code

    def __init__(self, fft_sizes: Sequence[int], alpha: float) -> None:
        super().__init__()
        if not fft_sizes or min(fft_sizes) < 4:
            raise InputError("fft_sizes", found=list(fft_sizes), expected="sizes of at least 4 samples")
        if alpha < 0:
            raise InputError("alpha", found=alpha, expected="a number of at least 0")
        self.sizes, self.alpha = list(fft_sizes), alpha
        for size in self.sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Return the loss, computed in float32. Shape: waveforms [..., T] both -> scalar."""
        samples = estimate.shape[-1]
        with torch.autocast(estimate.device.type, enabled=False):
            estimated, true = (waveform.float().reshape(-1, samples) for waveform in (estimate, reference))
            return torch.stack([self._distance(estimated, true, size) for size in self.sizes]).sum()

    def _distance(self, estimate: Tensor, reference: Tensor, size: int) -> Tensor:
        estimated, true = (self._magnitudes(waveform, size) for waveform in (estimate, reference))
        logs = functional.l1_loss((estimated + self.FLOOR).log(), (true + self.FLOOR).log())
        return functional.l1_loss(estimated, true) + self.alpha * logs

    def _magnitudes(self, waveform: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        return torch.stft(waveform, size, size // 4, window=window, pad_mode="constant", return_complex=True).abs()


class WeightedSum(nn.Module):
    """Compute a weighted sum of losses.

    Args:
        losses: mapping from names to losses. The names are free.
        weights: mapping from the same names to the weights.

    Raises:
        InputError: there are no losses, or the names differ.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not losses or {*losses} != {*weights}:
            raise InputError("weights", found=", ".join(sorted(weights)), expected=f"the names {', '.join(sorted(losses))}")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the weighted sum. Shape: that of the losses -> scalar."""
        terms = [self.weights[name] * loss(estimate, reference) for name, loss in self.losses.items()]
        return torch.stack(terms).sum()
