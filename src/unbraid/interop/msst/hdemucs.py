"""Hybrid Demucs (Demucs v3) in MSST and in the package demucs. unbraid uses the network of torchaudio.

Source: Défossez, "Hybrid spectrogram and waveform source separation", MDX workshop 2021.
"""

from collections.abc import Mapping
from typing import Any

from unbraid.interop.msst.family import Family, Shapes
from unbraid.nets.adapters import HDemucs
from unbraid.runs.errors import InputError

# Options of MSST that the network of torchaudio lacks, with the values for which both networks compute the same function.
FIXED = {
    "wiener_iters": 0, "end_iters": 0, "wiener_residual": False, "cac": True, "rewrite": True, "hybrid": True,
    "hybrid_old": False, "multi_freqs": [], "dconv_mode": 1,
}  # fmt: skip
SAME = (
    "channels", "growth", "depth", "freq_emb", "emb_scale", "emb_smooth", "kernel_size", "time_stride", "stride", "context",
    "context_enc", "norm_starts", "norm_groups", "dconv_depth", "dconv_comp", "dconv_attn", "dconv_lstm", "dconv_init",
)  # fmt: skip


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an MSST config to arguments of `HDemucs`.

    Args:
        config: content of the config file.

    Returns:
        A dictionary from the name of each argument to its value.

    Raises:
        InputError: an option has a value that the network of torchaudio does not support.
    """
    options = config["hdemucs"]
    for name, value in FIXED.items():
        if options.get(name, value) != value:
            problem = "the network of torchaudio does not support this value"
            raise InputError(f"hdemucs.{name}", problem, found=options[name], expected=str(value))
    if options.get("channels_time") not in (None, options.get("channels", 48)):
        raise InputError("hdemucs.channels_time", found=options["channels_time"], expected="the same value as hdemucs.channels")
    same = {name: options[name] for name in SAME if name in options}
    return same | {"n_fft": options.get("nfft", 4096), "audio_channels": config["training"].get("channels", 2)}


def guess(shapes: Shapes) -> dict[str, Any]:
    """Derive some arguments of `HDemucs` from the shapes of the tensors in a checkpoint."""
    depth = len({name.split(".")[1] for name in shapes if name.startswith("encoder.")})
    weight = shapes["tencoder.0.conv.weight"]
    return {"channels": weight[0], "audio_channels": weight[1], "depth": depth}


FAMILY = Family(
    model_types=("demucs", "hdemucs"),
    network=HDemucs,
    marks=(r"^encoder\.0\.conv\.weight$", r"^tdecoder\.0\.conv_tr\.weight$", r"^encoder\.\d+\.dconv\.layers\.0\.3\.lstm\."),
    arguments=arguments,
    guess=guess,
    renames=((r"^encoder\.", "net.freq_encoder."), (r"^decoder\.", "net.freq_decoder."), (r"^tencoder\.", "net.time_encoder."),
             (r"^tdecoder\.", "net.time_decoder."), (r"^freq_emb\.", "net.freq_emb.")),
    options={name: f"hdemucs.{name}" for name in SAME} | {"n_fft": "hdemucs.nfft", "audio_channels": "training.channels"},
    spare=(r"^net\.time_encoder\.\d+\.norm[12]\.(weight|bias)$",),
)  # fmt: skip
