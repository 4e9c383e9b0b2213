"""Losses: `loss(estimate, reference)` returns one number. Losses of separators take two `Estimate`s."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError


def given(estimate: Any, name: str) -> Tensor:
    """A field of an estimate; InputError where the separator has none."""
    if (value := getattr(estimate, name)) is None:
        raise InputError(f"model.loss: is of {name}, and this separator has none; choose a loss of what it gives")
    return value


class MagnitudeL1(nn.Module):
    """‖M ⊙ X − Y‖₁,₁ between estimated and true magnitudes (Jansson et al., ISMIR 2017).

    Averaged over bins instead of summed, so that the figure does not depend on batch or patch size. Adam divides by the size of
    the gradient and so takes nearly the same steps; it does not where gradients are not large against its eps of 1e-8.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        return functional.l1_loss(given(estimate, "magnitudes"), reference.magnitudes)


class RelativeMagnitudeL1(nn.Module):
    """‖M ⊙ X − Y‖₁,₁ as a share of ‖X‖₁,₁, the mean over targets: the same whatever the scale of the magnitudes.

    A sum of losses needs it: magnitudes that are divided by their largest have a mean of about 0.01, and so has `MagnitudeL1`.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: magnitudes [B, S, C, F, T] of both and the mixture's [B, C, F, T] -> scalar."""
        error = functional.l1_loss(given(estimate, "magnitudes"), reference.magnitudes)
        return error / given(estimate, "mixture").mean().clamp(min=1e-8)


class SquaredError(nn.Module):
    """‖x − x̂‖², the mean over items: what an autoencoder is trained on and judged by."""

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Shape: [N, D] both -> scalar."""
        return functional.mse_loss(estimate, reference, reduction="sum") / len(reference)


class BinCrossEntropy(nn.Module):
    """Cross-entropy of every bin that has a class (Ronneberger et al., MICCAI 2015, unweighted)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: logits [B, classes, F, T] and labels [B, F, T], negative where there is none -> scalar."""
        logits, known = given(estimate, "logits"), reference.labels >= 0
        total = functional.cross_entropy(logits, reference.labels, reduction="sum")
        return total / known.sum().clamp(min=1)


class DeepClustering(nn.Module):
    """‖V Vᵀ − Y Yᵀ‖² of embeddings V and classes Y, a mean over pairs of bins, without their affinities (Hershey et al. 2016).

    With N bins that have a say this takes N D² steps instead of N². `whitened` is D − tr((Vᵀ V)⁻¹ Vᵀ Y (Yᵀ Y)⁻¹ Yᵀ V), the loss
    of k-means on whitened embeddings (Wang, Le Roux & Hershey, ICASSP 2018), over D.

    Args:
        kind: `classic` or `whitened`.
    """

    def __init__(self, kind: Literal["classic", "whitened"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: embeddings [B, D, F, T]; labels and weights [B, F, T] -> scalar. In float32 under any precision."""
        embeddings = given(estimate, "embeddings")
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
        # Cholesky: batches of LU factors hang on some processors. Classes without bins have a row of zeros in vy.
        steady = vv + 1e-4 * weights.sum(dim=1).clamp(min=1).view(-1, 1, 1) / size * torch.eye(size).to(vv)
        inner = torch.cholesky_solve(vy, torch.linalg.cholesky(steady)).mul(vy).sum(dim=1)
        return (1 - (inner / yy.diagonal(dim1=1, dim2=2).clamp(min=1)).sum(dim=1) / size).mean()


class ChimeraLoss(nn.Module):
    """α · deep clustering + (1 − α) · mask inference (Luo et al., ICASSP 2017).

    Both should be of order 1, as the mean over pairs of bins and the share of the mixture (`RelativeMagnitudeL1`) are: then
    α = 0.5 balances their gradients. Public codes differ between α = 0.1 and 0.9.

    Args:
        clustering: loss of the embeddings.
        inference: loss of the masks.
        alpha: weight of the clustering, in [0, 1].
    """

    def __init__(self, clustering: nn.Module, inference: nn.Module, alpha: float) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], found {alpha}")
        self.clustering, self.inference, self.alpha = clustering, inference, alpha

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: as the two losses -> scalar."""
        return self.alpha * self.clustering(estimate, reference) + (1 - self.alpha) * self.inference(estimate, reference)


class MagnitudeMSE(nn.Module):
    """The mean of (M ⊙ X − Y)² over bins, summed over targets: what Open-Unmix is trained on (Stöter et al., JOSS 2019).

    The sum gives each target's network the gradient that it has when it is trained alone. With a mean, weight decay would be
    stronger the more targets there are.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        magnitudes = given(estimate, "magnitudes")
        return magnitudes.shape[1] * functional.mse_loss(magnitudes, reference.magnitudes)


class WaveformL1(nn.Module):
    """|x̂ − x| of waveforms, the mean over samples (Défossez et al., 2019)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: sources [B, S, C, T] of both -> scalar."""
        return functional.l1_loss(estimate.sources, reference.sources)


class WaveformMSE(nn.Module):
    """(x̂ − x)² of waveforms, the mean over samples."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: sources [B, S, C, T] of both -> scalar."""
        return functional.mse_loss(estimate.sources, reference.sources)


class SISDR(nn.Module):
    """Negative scale-invariant SDR in dB, the mean over sources (Le Roux et al., ICASSP 2019).

    One scale serves all channels. The level of an estimate is left open: scores that see it, such as uSDR, say nothing of a
    network that was trained on this alone. Energies have 1e-7 added, so that silence is no infinity.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: sources [B, S, C, T] of both -> scalar."""
        heard, true = estimate.sources.float().flatten(2), reference.sources.float().flatten(2)
        tiny = 1e-7
        scale = ((heard * true).sum(-1, keepdim=True) + tiny) / (true.square().sum(-1, keepdim=True) + tiny)
        target = scale * true
        ratio = (target.square().sum(-1) + tiny) / ((heard - target).square().sum(-1) + tiny)
        return -10 * ratio.log10().mean()


class MultiResolutionSTFT(nn.Module):
    """L1 of waveforms and of their complex spectra, at several window sizes (Lu et al., ICASSP 2024; Gusó et al. 2022).

    Args:
        window_sizes: of Hann windows, in samples.
        hop_length: step between frames in samples, the same for all sizes.
        n_fft: length of the transforms in samples; smaller windows are filled up with zeros, larger ones have their own.
        weight: of the sum of all spectra's L1; that of the waveforms is 1.
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
            raise InputError(
                f"window_sizes must all be larger than hop_length={hop_length}, which is 1 or more, found {list(window_sizes)}"
            )
        self.hop_length, self.n_fft, self.weight = hop_length, n_fft, weight
        self.sizes = list(window_sizes)
        for size in self.sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: sources [B, S, C, T] of both, T above half the largest window -> scalar."""
        with torch.autocast(estimate.sources.device.type, enabled=False):
            pair = torch.stack([estimate.sources.float(), reference.sources.float()])
            loss = functional.l1_loss(*pair)
            for size in self.sizes:
                loss = loss + self.weight * functional.l1_loss(*self._spectra(pair, size))
        return loss

    def _spectra(self, pair: Tensor, size: int) -> Tensor:
        samples, n_fft = pair.shape[-1], max(size, self.n_fft)
        if samples <= n_fft // 2:
            raise InputError(f"window_sizes: {n_fft} needs chunks of more than {n_fft // 2} samples, found {samples}")
        window = self.get_buffer(f"window_{size}")
        spectra = torch.stft(pair.reshape(-1, samples), n_fft, self.hop_length, size, window, return_complex=True)
        return spectra.unflatten(0, (2, -1))


class MultiScaleSpectral(nn.Module):
    """Σᵢ ‖Sᵢ − Ŝᵢ‖₁ + α ‖log Sᵢ − log Ŝᵢ‖₁ of magnitudes at several resolutions, all alike (Engel et al., ICLR 2020).

    Both norms are means over bins, so that the figure does not depend on the length. Windows are Hann's and overlap by 75 %.

    Args:
        fft_sizes: in samples.
        alpha: weight of the logarithms.
    """

    FLOOR = 1e-5  # is added before the logarithm, as in the authors' code

    def __init__(self, fft_sizes: Sequence[int], alpha: float) -> None:
        super().__init__()
        if not fft_sizes or min(fft_sizes) < 4:
            raise InputError(f"fft_sizes must all be at least 4, found {list(fft_sizes)}")
        if alpha < 0:
            raise InputError(f"alpha must be at least 0, found {alpha}")
        self.sizes, self.alpha = list(fft_sizes), alpha
        for size in self.sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Shape: waveforms [..., T] both -> scalar. In float32 under any precision."""
        samples = estimate.shape[-1]
        with torch.autocast(estimate.device.type, enabled=False):
            one, other = (waveform.float().reshape(-1, samples) for waveform in (estimate, reference))
            return torch.stack([self._distance(one, other, size) for size in self.sizes]).sum()

    def _distance(self, estimate: Tensor, reference: Tensor, size: int) -> Tensor:
        one, other = (self._magnitudes(waveform, size) for waveform in (estimate, reference))
        logs = functional.l1_loss((one + self.FLOOR).log(), (other + self.FLOOR).log())
        return functional.l1_loss(one, other) + self.alpha * logs

    def _magnitudes(self, waveform: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        return torch.stft(waveform, size, size // 4, window=window, pad_mode="constant", return_complex=True).abs()


class WeightedSum(nn.Module):
    """Several losses as one.

    Args:
        losses: by names of one's own.
        weights: of each, by the same names.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not losses or {*losses} != {*weights}:
            raise InputError(f"weights must name the losses, {', '.join(sorted(losses))}, found {', '.join(sorted(weights))}")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: what each of the losses takes -> scalar."""
        each = [self.weights[name] * loss(estimate, reference) for name, loss in self.losses.items()]
        return torch.stack(each).sum()
