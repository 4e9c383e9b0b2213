"""Hybrid Transformer Demucs of Music-Source-Separation-Training (MSST), which uses the network of the demucs package."""

import re
from collections.abc import Mapping
from typing import Any

from unbraid.interop.msst.family import REMOVE, Family, Shapes
from unbraid.nets.htdemucs import HTDemucs
from unbraid.runs.errors import InputError

# Options of the reference that change the network, with the only value that `HTDemucs` supports.
FIXED: dict[str, Any] = {
    "channels_time": None, "num_subbands": 1, "cac": True, "rewrite": True, "multi_freqs": None, "freq_emb": 0.2,
    "emb_scale": 10, "kernel_size": 8, "stride": 4, "context": 1, "context_enc": 0, "t_emb": "sin", "t_norm_in": True,
    "t_norm_in_group": False, "t_group_norm": False, "t_norm_first": True, "t_norm_out": True, "t_max_period": 10000.0,
    "t_layer_scale": True, "t_gelu": True, "t_weight_pos_embed": 1.0, "t_sin_random_shift": 0, "t_sparse_self_attn": False,
    "t_sparse_cross_attn": False, "t_cross_first": False, "norm_starts": 4,
}  # fmt: skip
# Options that change only the training or the initial weights, or that are used only with options that `FIXED` excludes.
WITHOUT_EFFECT = (
    "wiener_iters", "end_iters", "wiener_residual", "multi_freqs_depth", "emb_smooth", "time_stride",
    "norm_groups", "dconv_init", "t_max_positions", "t_weight_decay", "t_lr", "t_cape_mean_normalize", "t_cape_augment",
    "t_cape_glob_loc_scale", "t_mask_type", "t_mask_random_seed", "t_sparse_attn_window", "t_global_window", "t_sparsity",
    "t_auto_sparsity", "rescale", "samplerate", "segment",
)  # fmt: skip
# Options of the reference and the arguments of `HTDemucs` with the same meaning, with the default of the reference.
ARGUMENTS: dict[str, tuple[str, Any]] = {
    "channels": ("channels", 48), "growth": ("growth", 2), "nfft": ("n_fft", 4096), "depth": ("depth", 4),
    "dconv_depth": ("dconv_depth", 2), "dconv_comp": ("dconv_comp", 8), "t_layers": ("layers", 5), "t_heads": ("heads", 8),
    "t_hidden_scale": ("hidden_scale", 4.0), "t_dropout": ("dropout", 0.0),
}  # fmt: skip


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an MSST config to the arguments of `HTDemucs` except `sources`.

    Args:
        config: content of the MSST config file.

    Returns:
        A dictionary from the name of each argument to its value.

    Raises:
        InputError: the config describes another network, or contains an option or value that `HTDemucs` does not support.
    """
    if config.get("model") != "htdemucs":
        found = config.get("model") if isinstance(config.get("model"), str) else None
        raise InputError("model", "the config does not describe this network", found=found, expected="htdemucs")
    if not isinstance(config.get("htdemucs"), Mapping):
        raise InputError("htdemucs", "the config lacks this section", expected="the options of the network")
    options, training = config["htdemucs"], config.get("training", {})
    for name, value in options.items():
        if name in FIXED:
            if value != FIXED[name] and (value or FIXED[name]):
                raise InputError(
                    f"htdemucs.{name}", "unbraid does not support this value", found=value, expected=str(FIXED[name])
                )
        elif name not in (*ARGUMENTS, *WITHOUT_EFFECT, "dconv_mode", "bottom_channels", "use_train_segment"):
            raise InputError(f"htdemucs.{name}", "unknown option of HTDemucs", found=value, hint=REMOVE)
    mode = options.get("dconv_mode", 1)
    if mode not in (1, 3):
        expected = "1 (encoder) or 3 (encoder and decoder)"
        raise InputError("htdemucs.dconv_mode", "unbraid does not support this value", found=mode, expected=expected)
    segment = None
    if options.get("use_train_segment", False):
        segment = int(training["segment"] * training["samplerate"])
    return {
        "audio_channels": training.get("channels", 2),
        **{argument: options.get(name, default) for name, (argument, default) in ARGUMENTS.items()},
        "decoder_dconv": mode == 3,
        "bottom_channels": options.get("bottom_channels") or None,
        "segment_samples": segment,
    }


def guess(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of `HTDemucs` from the shapes of the tensors. The number of attention heads cannot be derived.

    Args:
        shapes: dictionary from the MSST name of each tensor to the shape of the tensor.

    Returns:
        A dictionary from the name of each argument to its value.
    """
    channels, audio_channels = shapes["tencoder.0.conv.weight"][:2]
    depth, layers, dconv_depth = (
        1 + max(int(match[1]) for name in shapes if (match := re.match(pattern, name)))
        for pattern in (r"encoder\.(\d+)\.", r"crosstransformer\.layers\.(\d+)\.", r"encoder\.0\.dconv\.layers\.(\d+)\.")
    )
    hidden, inner = shapes["crosstransformer.layers.0.linear1.weight"]
    return {
        "audio_channels": audio_channels,
        "channels": channels,
        "growth": shapes["encoder.1.conv.weight"][0] // channels if depth > 1 else 1,
        "n_fft": 8 * shapes["freq_emb.embedding.weight"][0],
        "depth": depth,
        "dconv_depth": dconv_depth,
        "dconv_comp": channels // shapes["encoder.0.dconv.layers.0.0.weight"][0],
        "decoder_dconv": "decoder.0.dconv.layers.0.0.weight" in shapes,
        "bottom_channels": inner if "channel_upsampler.weight" in shapes else None,
        "layers": layers,
        "hidden_scale": hidden / inner,
    }


RENAMES = (
    (r"^(t?)encoder\.", r"\1_encoder."),
    (r"^(t?)decoder\.", r"\1_decoder."),
    (r"^channel_upsampler(?:_(t))?\.", r"\1_widening."),
    (r"^channel_downsampler(?:_(t))?\.", r"\1_narrowing."),
    (r"^t_", "waveform_"),
    (r"^_", "spectral_"),
    (r"^freq_emb\.embedding\.", "bin_embedding."),
    (r"\.conv_tr\.", ".conv."),
    (r"\.rewrite\.", ".gate."),
    (r"\.dconv\.layers\.(\d+)\.6\.scale$", r".branch.blocks.\1.6.factors"),
    (r"\.dconv\.layers\.", ".branch.blocks."),
    (r"^crosstransformer\.norm_in\.", "transformer.spectral_norm."),
    (r"^crosstransformer\.norm_in_t\.", "transformer.waveform_norm."),
    (r"^crosstransformer\.layers\.", "transformer.spectral_layers."),
    (r"^crosstransformer\.layers_t\.", "transformer.waveform_layers."),
    (r"\.(?:self|cross)_attn\.in_proj_(weight|bias)$", r".attention.inputs.\1"),
    (r"\.(?:self|cross)_attn\.out_proj\.", ".attention.output."),
    (r"\.norm1\.", ".attention_norm."),
    (r"(_layers\.\d*[13579])\.norm2\.", r"\1.other_norm."),
    (r"\.norm[23]\.", ".feed_norm."),
    (r"\.norm_out\.", ".norm."),
    (r"\.linear1\.", ".feed.0."),
    (r"\.linear2\.", ".feed.3."),
    (r"\.gamma_1\.scale$", ".attention_scale"),
    (r"\.gamma_2\.scale$", ".feed_scale"),
)

OPTIONS = {argument: f"htdemucs.{option}" for option, (argument, _) in ARGUMENTS.items()}
OPTIONS |= {
    "audio_channels": "training.channels", "decoder_dconv": "htdemucs.dconv_mode", "segment_samples": "training.segment",
    "bottom_channels": "htdemucs.bottom_channels",
}  # fmt: skip

FAMILY = Family(
    model_types=("htdemucs",),
    network=HTDemucs,
    marks=(r"^tencoder\.0\.conv\.weight$", r"^crosstransformer\.layers_t\.0\.self_attn\."),
    arguments=arguments,
    guess=guess,
    renames=RENAMES,
    options=OPTIONS,
)
