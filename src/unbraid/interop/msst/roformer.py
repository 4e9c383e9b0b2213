"""BS-RoFormer and Mel-Band RoFormer of MSST."""

import re
from collections.abc import Mapping
from typing import Any

from unbraid.dsp.mel import mel_bands
from unbraid.interop.msst.family import REMOVE, Family, Shapes
from unbraid.nets.roformer import SIXTY_TWO_BANDS, BSRoformer, MelBandRoformer
from unbraid.runs.errors import InputError

BODY = {  # arguments that both networks of MSST and of unbraid have, with their defaults in MSST
    "depth": None, "time_transformer_depth": 2, "freq_transformer_depth": 2, "linear_transformer_depth": 0, "dim_head": 64,
    "heads": 8, "zero_dc": True, "mlp_expansion_factor": 4, "skip_connection": False,
}  # fmt: skip
OFF = {  # options that unbraid does not support, with the only allowed value, which does not change the network
    "use_pope": False, "stft_window_fn": None, "use_value_residual_learning": False, "add_value_residual": False,
    "num_residual_streams": 1,
}  # fmt: skip
# Options that do not change the output: the training loss, the attention kernel, the scale of the STFT (each band is
# normalised), and the length of the output (that of unbraid is as long as the input).
IGNORED = {
    "num_stems", "flash_attn", "sage_attention", "dim_freqs_in", "stft_normalized", "match_input_audio_length",
    "multi_stft_resolution_loss_weight", "multi_stft_resolutions_window_sizes", "multi_stft_hop_size", "multi_stft_normalized",
}  # fmt: skip
PREFIX = r"^(?:module\.|model\.|_orig_mod\.)+"  # of distributed training, of a wrapper, and of a compiled network
TRANSFORMER_LAYERS = (  # names in `unbraid.nets.rotary_transformer`
    (r"\.layers\.(\d+)\.0\.", r".layers.\1.attention."),
    (r"\.layers\.(\d+)\.1\.net\.0\.", r".layers.\1.feed_forward.norm."),
    (r"\.layers\.(\d+)\.1\.net\.1\.", r".layers.\1.feed_forward.expand."),
    (r"\.layers\.(\d+)\.1\.net\.4\.", r".layers.\1.feed_forward.reduce."),
    (r"\.to_qkv\.(?:0\.)?", ".qkv."),
    (r"\.to_gates\.", ".gates."),
    (r"\.to_out\.[01]\.", ".out."),
    (r"\.gamma$", ".weight"),
)
RENAMES = (
    (PREFIX, ""),
    (r"^layers\.", "transformer.blocks."),
    (r"^final_norm\.", "transformer.norm."),
    *TRANSFORMER_LAYERS,
    (r"^band_split\.to_features\.", "band_split.bands."),
    (r"\.to_freqs\.(\d+)\.0\.", r".bands.\1."),
)
OPTIONS = {
    "audio_channels": "model.stereo", "n_fft": "model.stft_n_fft", "hop_length": "model.stft_hop_length",
    "win_length": "model.stft_win_length", "gradient_checkpointing": "model.use_torch_checkpoint",
}  # fmt: skip
MARKS = (
    r"band_split\.to_features\.1\.0\.gamma$",
    r"(?:^|\.)layers\.0\.1\.layers\.0\.0\.to_gates\.weight$",
    r"mask_estimators\.0\.to_freqs\.",
)
UNUSED = (r"\.rotary_embed\.",)  # frequencies of the rotations, which are constant


def _arguments(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an MSST config to arguments of `BSRoformer` or `MelBandRoformer`.

    Args:
        config: content of the config file.
        own: further arguments of the network: dictionary from the name of the argument to its default value in MSST.

    Returns:
        A dictionary from the name of each argument to its value.

    Raises:
        InputError: a required option is missing, or an option is unknown or has an unsupported value.
    """
    model = config.get("model") or {}
    known = {**BODY, **own, "dim": None, "stereo": False, "use_torch_checkpoint": False}
    stft = {"stft_n_fft": 2048, "stft_hop_length": 512, "stft_win_length": 2048}
    for name in ("dim", "depth"):
        if not isinstance(model.get(name), int):
            raise InputError(f"model.{name}", found=model.get(name), expected="an integer")
    for name, value in model.items():
        if name in OFF and value != OFF[name]:
            raise InputError(f"model.{name}", "unbraid does not support this value", found=value, expected=str(OFF[name]))
        if name not in {*known, *stft, *OFF} | IGNORED:
            raise InputError(f"model.{name}", "unknown option of the network", found=value, hint=REMOVE)
    values = {name: model.get(name, default) for name, default in {**known, **stft}.items()}
    return {
        "audio_channels": 2 if values["stereo"] else 1,
        "dim": values["dim"],
        **{name: values[name] for name in (*BODY, *own)},
        "n_fft": values["stft_n_fft"],
        "hop_length": values["stft_hop_length"],
        "win_length": None if values["stft_win_length"] == values["stft_n_fft"] else values["stft_win_length"],
        "gradient_checkpointing": values["use_torch_checkpoint"],
    }


def _bs_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an MSST config to arguments of `BSRoformer`."""
    own = {"freqs_per_bands": SIXTY_TWO_BANDS, "attn_dropout": 0.0, "ff_dropout": 0.0, "mask_estimator_depth": 2}
    arguments = _arguments(config, own)
    return {**arguments, "freqs_per_bands": list(arguments["freqs_per_bands"])}


def _mel_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an MSST config to arguments of `MelBandRoformer`."""
    own = {"num_bands": 60, "sample_rate": 44100, "attn_dropout": 0.1, "ff_dropout": 0.1, "mask_estimator_depth": 1}
    return _arguments(config, own)


def _guess(shapes: Shapes) -> tuple[dict[str, Any], list[int], int]:
    """Derive the arguments that `BSRoformer` and `MelBandRoformer` share.

    The arguments follow from the shapes of the tensors in a checkpoint.

    Args:
        shapes: dictionary from the MSST name of each tensor to the shape of the tensor.

    Returns:
        Three objects: a dictionary from the name of each argument to its value; the number of real values of each band; and the
        number of linear layers of a mask estimator.
    """
    shapes = {re.sub(PREFIX, "", name): shape for name, shape in shapes.items()}
    over_time = "layers.0.1" if "layers.0.2.layers.0.0.to_qkv.weight" in shapes else "layers.0.0"
    over_bands = "layers.0.2" if over_time == "layers.0.1" else "layers.0.1"
    linear = _count(shapes, "layers.0.0.layers") if over_time == "layers.0.1" else 0
    heads, dim = shapes[f"{over_time}.layers.0.0.to_gates.weight"]
    widths = [shapes[f"band_split.to_features.{band}.0.gamma"][0] for band in range(_count(shapes, "band_split.to_features"))]
    mask = "mask_estimators.0.to_freqs.0.0"
    mask_layers = len({name for name in shapes if name.startswith(f"{mask}.") and name.endswith(".weight")})
    arguments = {
        "dim": dim,
        "depth": _count(shapes, "layers"),
        "time_transformer_depth": _count(shapes, f"{over_time}.layers"),
        "freq_transformer_depth": _count(shapes, f"{over_bands}.layers"),
        "linear_transformer_depth": linear,
        "dim_head": shapes[f"{over_time}.layers.0.0.to_qkv.weight"][0] // (3 * heads),
        "heads": heads,
        **({"mlp_expansion_factor": shapes[f"{mask}.0.weight"][0] // dim} if mask_layers > 1 else {}),
    }
    return arguments, widths, mask_layers


def _count(shapes: Shapes, module: str) -> int:
    """Return the number of entries of the module list with the name `module`."""
    return len({name.removeprefix(f"{module}.").partition(".")[0] for name in shapes if name.startswith(f"{module}.")})


def _guess_bs(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `BSRoformer` from the shapes of the tensors in a checkpoint."""
    arguments, widths, mask_layers = _guess(shapes)
    half = sum(widths) // 4 - 1  # n_fft // 2 if the network is stereo, which is a power of two
    channels = 2 if half > 0 and not half & (half - 1) else 1
    bands = [width // (2 * channels) for width in widths]
    own = {"audio_channels": channels, "freqs_per_bands": bands, "n_fft": 2 * (sum(bands) - 1)}
    return {**arguments, **own, "mask_estimator_depth": mask_layers}


def _guess_mel(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `MelBandRoformer` from the shapes of the tensors in a checkpoint.

    The sample rate and `n_fft` are found by trying common values, until the mel bands have the same sizes as in the checkpoint.
    """
    arguments, widths, mask_layers = _guess(shapes)
    own = {"num_bands": len(widths), "mask_estimator_depth": mask_layers - 1}
    for n_fft in (2048, 4096, 1024, 8192, 512):
        for rate in (44100, 48000, 32000, 24000, 22050, 16000):
            bins = mel_bands(len(widths), n_fft, rate).sum(dim=1).tolist()
            for channels in (2, 1):
                if widths == [2 * channels * number for number in bins]:
                    return {**arguments, **own, "audio_channels": channels, "n_fft": n_fft, "sample_rate": rate}
    raise InputError(
        "checkpoint",
        "the mel bands of this Mel-Band RoFormer are unknown",
        hint="Type config=FILE with the config file of the model",
    )


FAMILIES = (
    Family(
        model_types=("bs_roformer",),
        network=BSRoformer,
        marks=(*MARKS, r"(?:^|\.)final_norm\.gamma$"),
        arguments=_bs_arguments,
        guess=_guess_bs,
        renames=RENAMES,
        unused=UNUSED,
        options=OPTIONS,
    ),
    Family(
        model_types=("mel_band_roformer",),
        network=MelBandRoformer,
        marks=(*MARKS, r"(?:^|\.)layers\.0\.1\.norm\.gamma$"),
        arguments=_mel_arguments,
        guess=_guess_mel,
        renames=RENAMES,
        unused=UNUSED,
        options=OPTIONS,
    ),
)
