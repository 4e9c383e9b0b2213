"""MDX23C (TFC-TDF v3) in Music-Source-Separation-Training (MSST)."""

from collections.abc import Mapping
from typing import Any

from unbraid.interop.msst.family import REMOVE, Family, Shapes
from unbraid.nets.tfc_tdf import TFCTDF
from unbraid.runs.errors import InputError

RENAMES = (
    (r"^module\.", ""),
    (r"^first_conv\.", "first."),
    (r"^encoder_blocks\.(\d+)\.tfc_tdf\.blocks\.", r"encoder.\1."),
    (r"^encoder_blocks\.(\d+)\.downscale\.conv\.", r"down.\1."),
    (r"^bottleneck_block\.blocks\.", "lowest."),
    (r"^decoder_blocks\.(\d+)\.upscale\.conv\.", r"up.\1."),
    (r"^decoder_blocks\.(\d+)\.tfc_tdf\.blocks\.", r"decoder.\1."),
    (r"^final_conv\.", "last."),
)
AUDIO = {"num_channels": "audio_channels", "n_fft": "n_fft", "hop_length": "hop_length", "dim_f": "bins"}
MODEL = {
    "num_subbands": "subbands", "num_channels": "channels", "growth": "growth", "num_scales": "levels",
    "num_blocks_per_scale": "blocks", "bottleneck_factor": "bottleneck",
}  # fmt: skip
NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a config of MDX23C to arguments of `TFCTDF`.

    Args:
        config: content of the config file.

    Returns:
        A dictionary from the name of each argument to its value.

    Raises:
        InputError: the config lacks an option, or contains an unknown option.
    """
    audio, model = config["audio"], config["model"]
    for section, options, names in (("audio", audio, {*AUDIO}), ("model", model, {*MODEL, "scale", "norm", "act"})):
        if missing := sorted(names - {*options}):
            raise InputError(f"{section}.{missing[0]}", "the config lacks this option of MDX23C")
    for key in model:
        if key not in {*MODEL, "scale", "norm", "act"}:
            raise InputError(f"model.{key}", "unknown option of MDX23C", found=model[key], hint=REMOVE)
    norm = str(model["norm"])
    time_stride, frequency_stride = model["scale"]
    return {
        **{name: audio[key] for key, name in AUDIO.items()},
        **{name: model[key] for key, name in MODEL.items()},
        "time_stride": time_stride,
        "frequency_stride": frequency_stride,
        "norm": norm.lower().replace("norm", "") if norm.startswith("GroupNorm") else NORMS.get(norm, "none"),
        "activation": model["act"],
    }


def guess(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `TFCTDF` from the shapes of the tensors in a checkpoint.

    The shapes do not determine the STFT, the number of audio channels, the number of subbands, and whether a normalisation
    without statistics is `instance` or a group normalisation. The result lacks these arguments.

    Args:
        shapes: dictionary from the MSST name of each tensor to the shape of the tensor.

    Returns:
        A dictionary from the name of each argument to its value.
    """
    shapes = {name.removeprefix("module."): shape for name, shape in shapes.items()}
    channels = shapes["first_conv.weight"][0]
    hidden, height = shapes["encoder_blocks.0.tfc_tdf.blocks.0.tdf.2.weight"]
    wider, _, time_stride, frequency_stride = shapes["encoder_blocks.0.downscale.conv.2.weight"]
    first_norm = "encoder_blocks.0.tfc_tdf.blocks.0.tfc1.0"
    has_statistics, has_norm = (f"{first_norm}.{name}" in shapes for name in ("running_mean", "weight"))
    return {
        "channels": channels,
        "growth": wider - channels,
        "levels": sum(name.endswith(".downscale.conv.2.weight") for name in shapes),
        "blocks": sum(name.startswith("bottleneck_block.") and name.endswith(".shortcut.weight") for name in shapes),
        "time_stride": time_stride,
        "frequency_stride": frequency_stride,
        "bottleneck": height // hidden,
        **({"norm": "batch"} if has_statistics else {} if has_norm else {"norm": "none"}),
    }


OPTIONS = {
    argument: f"{section}.{option}"
    for section, names in (("audio", AUDIO), ("model", MODEL))
    for option, argument in names.items()
}
FAMILY = Family(
    ("mdx23c",), TFCTDF, (r"encoder_blocks\.0\.tfc_tdf\.", r"bottleneck_block\.blocks\."), arguments, guess, RENAMES,
    options=OPTIONS | {"time_stride": "model.scale", "frequency_stride": "model.scale", "activation": "model.act"},
)  # fmt: skip
