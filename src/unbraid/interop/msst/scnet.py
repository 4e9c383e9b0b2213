"""SCNet and its variants in Music-Source-Separation-Training (MSST), and the checkpoints of the authors of SCNet.

Tensors have the same names in MSST and in the authors' code (github.com/starrytong/SCNet). The authors' checkpoints add a
prefix `module.`, which comes from distributed training.
"""

from collections.abc import Collection, Mapping
from itertools import count
from typing import Any

from unbraid.interop.msst.family import REMOVE, Family, Shapes
from unbraid.interop.msst.roformer import TRANSFORMER_LAYERS
from unbraid.nets.scnet import SCNet
from unbraid.nets.scnet_transformer import SCNetTransformer
from unbraid.runs.errors import InputError

RENAMES = (
    (r"^module\.", ""),
    (r"^encoder\.(\d+)\.SDlayer\.convs\.", r"encoder.\1.compress."),
    (r"^encoder\.(\d+)\.conv_modules\.(\d+)\.layers\.", r"encoder.\1.bands.\2."),
    (r"^encoder\.(\d+)\.globalconv\.", r"encoder.\1.mix."),
    (r"^decoder\.(\d+)\.0\.conv\.", r"decoder.\1.mix."),
    (r"^decoder\.(\d+)\.1\.convtrs\.", r"decoder.\1.expand."),
    (r"^separation_net\.dp_modules\.", "separation."),
    (r"^(separation\.\d+)\.norm_layers\.0\.", r"\1.frequency_norm."),
    (r"^(separation\.\d+)\.norm_layers\.1\.", r"\1.time_norm."),
    (r"^(separation\.\d+)\.(lstm|linear)_layers\.0\.", r"\1.frequency.\2."),
    (r"^(separation\.\d+)\.(lstm|linear)_layers\.1\.", r"\1.time.\2."),
    (r"^pos_embed_f$", "position"),
    (r"^mask_layer\.", "mask_head."),
)
TRANSFORMER = (
    (r"^(separation\.\d+)\.freq_layer\.", r"\1.frequency."),
    (r"^(separation\.\d+)\.time_layer\.", r"\1.time."),
    *TRANSFORMER_LAYERS,
)
ARGUMENTS = {
    "audio_channels": "audio_channels", "nfft": "n_fft", "hop_size": "hop_length", "normalized": "normalized",
    "band_SR": "band_shares", "band_stride": "band_strides", "band_kernel": "band_kernels", "conv_depths": "band_depths",
    "compress": "compress", "conv_kernel": "conv_kernel", "num_dplayer": "layers",
}  # fmt: skip
ATTENTION = {
    "tran_rotary_embedding_dim": "rotary_dim", "tran_depth": "depth", "tran_heads": "heads", "tran_dim_head": "dim_head",
    "tran_attn_dropout": "attn_dropout", "tran_ff_dropout": "ff_dropout",
}  # fmt: skip

OPTIONS = {argument: f"model.{option}" for option, argument in {**ARGUMENTS, **ATTENTION, "dims": "channels"}.items()}


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a config of SCNet to arguments of `SCNet`. An unsupported option raises InputError.

    A config with the section `audio` comes from MSST. A config without this section comes from the authors of SCNet. Only the
    network of the authors standardises its input, so `standardize` is True only for a config of the authors.

    Args:
        config: content of the config file.

    Returns:
        A dictionary from the name of each argument to its value.
    """
    return _common(config, {"expand": "expand"}) | {"standardize": "audio" not in config}


def masked_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a config of SCNet with masks to arguments of `SCNet`. An unsupported option raises InputError."""
    return _common(config, {"expand": "expand"}) | {"window": "hann", "mask": True}


def transformer_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a config of SCNet with attention to arguments of `SCNetTransformer`. An unsupported option raises InputError."""
    return _common(config, ATTENTION, ignored={"expand", "tran_flash_attn"})


def _common(config: Mapping[str, Any], more: Mapping[str, str], ignored: Collection[str] = ()) -> dict[str, Any]:
    model = config["model"]
    names = {**ARGUMENTS, **more}
    for key in model:
        if key not in {*names, *ignored, "sources", "dims", "win_size"}:
            raise InputError(f"model.{key}", "unknown option of SCNet", found=model[key], hint=REMOVE)
    n_fft = model.get("nfft", 4096)
    if (window := model.get("win_size", 4096)) != n_fft:
        raise InputError("model.win_size", found=window, expected=f"{n_fft}, the value of model.nfft")
    ins, *channels = model.get("dims", (4, 32, 64, 128))
    if ins != 2 * model.get("audio_channels", 2):
        problem = "the first size must be 2 * audio_channels"
        raise InputError("model.dims", problem, found=ins, expected=str(2 * model.get("audio_channels", 2)))
    return {names[key]: value for key, value in model.items() if key in names} | {"channels": channels}


def guess(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `SCNet` from the shapes of the tensors in a checkpoint.

    The shapes do not determine the shares and strides of the bands, and the STFT. The result lacks these arguments.

    Args:
        shapes: dictionary from the MSST name of each tensor to the shape of the tensor.

    Returns:
        A dictionary from the name of each argument to its value.
    """
    shapes = {name.removeprefix("module."): shape for name, shape in shapes.items()}
    sizes = [
        shapes[f"encoder.0.SDlayer.convs.{band}.weight"] for band in range(_count(shapes, "encoder.0.SDlayer.convs.{}.bias"))
    ]
    kernels = [size[2] for size in sizes]
    levels = _count(shapes, "encoder.{}.globalconv.bias")
    channels = [shapes[f"encoder.{level}.globalconv.bias"][0] for level in range(levels)]
    found: dict[str, Any] = {
        "audio_channels": sizes[0][1] // 2,
        "channels": channels,
        "band_kernels": kernels,
        "band_depths": [_count(shapes, f"encoder.0.conv_modules.{band}.layers.{{}}.0.weight") for band in range(len(sizes))],
        "layers": _count(shapes, "separation_net.dp_modules.{}.norm_layers.0.weight"),
    }
    if (depthwise := shapes.get("encoder.0.conv_modules.0.layers.0.3.weight")) is not None:
        found |= {"compress": channels[0] // depthwise[0], "conv_kernel": depthwise[2]}
    if (lstm := shapes.get("separation_net.dp_modules.0.lstm_layers.0.weight_hh_l0")) is not None:
        found["expand"] = lstm[1] // channels[-1]
    return found


def guess_masked(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `SCNet` with masks from the shapes of the tensors in a checkpoint. See `guess`."""
    bins = next(shape[2] for name, shape in shapes.items() if name.endswith("pos_embed_f"))
    return guess(shapes) | {"n_fft": 2 * (bins - 1), "window": "hann", "mask": True}


def guess_transformer(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `SCNetTransformer` from the shapes of the tensors in a checkpoint. See `guess`."""
    path = next(name.partition("freq_layer")[0] for name in shapes if "freq_layer" in name) + "freq_layer"
    heads = shapes[f"{path}.layers.0.0.to_gates.bias"][0]
    dim_head = shapes[f"{path}.layers.0.0.to_qkv.weight"][0] // (3 * heads)
    found = {"depth": _count(shapes, path + ".layers.{}.0.to_gates.bias"), "heads": heads, "dim_head": dim_head}
    rotations = shapes.get(f"{path}.layers.0.0.rotary_embed.freqs", (dim_head // 2,))
    return guess(shapes) | found | {"rotary_dim": 2 * rotations[0]}


def _count(shapes: Shapes, name: str) -> int:
    """Count the tensors whose names are `name` with 0, 1, 2, … in place of `{}`, up to the first missing name."""
    return next(number for number in count() if name.format(number) not in shapes)


FAMILIES = (
    Family(
        ("scnet",), SCNet, (r"encoder\.0\.SDlayer\.", r"\.lstm_layers\."), arguments, guess, RENAMES,
        absent=(r"^pos_embed_f$",), options=OPTIONS,
    ),
    Family(
        ("scnet_masked",), SCNet, (r"encoder\.0\.SDlayer\.", r"\.lstm_layers\.", r"pos_embed_f$"), masked_arguments,
        guess_masked, RENAMES, options=OPTIONS,
    ),
    Family(
        ("scnet_tran",), SCNetTransformer, (r"encoder\.0\.SDlayer\.", r"\.freq_layer\."), transformer_arguments,
        guess_transformer, RENAMES + TRANSFORMER, unused=(r"^(module\.)?first_conv\.", r"\.rotary_embed\.freqs$"),
        options=OPTIONS,
    ),
)  # fmt: skip
