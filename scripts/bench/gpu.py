"""Measure training steps of the separators on one GPU in bf16: speed, memory, and the share of the GPU's peak speed.

    python scripts/bench/gpu.py [models=bs_roformer,scnet] [minutes=8] [batch=4] [device=auto] [output=outputs/bench/gpu.csv]
        [model.separator.chunk_seconds=2] …

Words with a dot are keys of the training config. Each model is measured with and without gradient checkpointing (if its network
has this option), and with and without `compile=true`. A step contains the transforms, the network, the loss, the gradients and
the optimizer, on a batch in memory. Each row of the table is measured in a process of its own. The whole script ends after
`minutes`. The columns are:

- `steps_per_s`: training steps per second, the median of at most 30 steps.
- `peak_gb`: peak memory of a step in GB. On a GPU: memory of all tensors. On a CPU: memory of the whole process.
- `forward_gb`: peak memory in GB of the estimation of all sources without gradients, as in separation, for the same batch.
- `tflop`: floating-point operations of a step in units of 1e12, counted without gradient checkpointing. Transforms, and
  operations on single elements, are not counted.
- `peak_share`: `tflop` · `steps_per_s` divided by the peak speed of the GPU; empty if the table `PEAKS` lacks the GPU.
- `first_step_s`: duration of the first step in seconds, which contains the compilation.
- `status`: `ok`; `out of memory`; `stopped` if the time of the row was over; `skipped` if no time was left for the row;
  otherwise the error.

The rows without `torch.compile` are measured first. A row is stopped after 60 s, or 120 s with `torch.compile`, unless
`minutes` gives each row more time. So name few models if compilations are stopped. Without a GPU, the script measures small
models on the CPU.
"""

import csv
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as in all scripts of this project

import hydra
import torch
from omegaconf import OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unbraid.commands.cli import CONF
from unbraid.runs.config import build
from unbraid.training.compilation import compile_networks

BATCHES = {  # numbers of chunks in a batch on a GPU
    "unet": 16, "unet_44khz": 16, "open_unmix": 16, "chimera": 16, "conv_tasnet": 4, "hdemucs": 4, "htdemucs": 4, "scnet": 4,
    "mdx23c": 4, "bs_roformer": 4, "mel_band_roformer": 4, "scnet_large": 4, "bs_roformer_large": 4,
    "mel_band_roformer_large": 4,
}  # fmt: skip
SMALL = (  # models for a CPU
    "unet_small", "chimera_small", "scnet_small", "htdemucs_small", "mdx23c_small", "bs_roformer_small",
    "mel_band_roformer_small",
)  # fmt: skip
# Operations per second of dense products in bfloat16, by the beginning of the name of the GPU. Source: NVIDIA's data sheets
# (for GeForce: white papers of the architectures), without sparsity.
PEAKS = {
    "NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 NVL": 835e12, "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100": 312e12, "NVIDIA L40S": 362e12, "NVIDIA GeForce RTX 4090": 165e12, "NVIDIA GeForce RTX 3090": 71e12,
}  # fmt: skip
STEPS, STEP_SECONDS = 30, 5.0  # limits of the measured steps of a row
ROW_SECONDS = {False: 60.0, True: 120.0}  # the longest time of a row, without and with torch.compile
COLUMNS = (
    "model", "checkpointing", "compile", "status", "batch", "chunk_s", "parameters_m", "steps_per_s", "peak_gb", "forward_gb",
    "tflop", "peak_share", "first_step_s",
)  # fmt: skip
CHECKPOINTING = "model.separator.net.gradient_checkpointing"
DEFAULTS = {"models": "", "minutes": "", "batch": "", "device": "auto", "output": "outputs/bench/gpu.csv"}
Send = Callable[[dict[str, Any]], None]


def main() -> None:
    """Measure the models that the command line names. Print a table and one JSON line, and write the table to a file."""
    began = time.monotonic()
    words = [word for word in sys.argv[1:] if "." in word.partition("=")[0]]
    arguments = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:] if word not in words)
    check(arguments)
    names: dict[str, Any] = {}
    in_process(find_device, arguments["device"], update=names, seconds=60)
    if "device" not in names:
        sys.exit(f"error: device={arguments['device']}: {names['status']}")
    device = names["device"]
    print(f"{names['name']}, torch {torch.__version__}, bf16, batches in memory")
    if device == "cpu":
        print(f"no GPU is used: {torch.get_num_threads()} threads of the CPU, small models, and no share of a peak speed")
    models = arguments["models"].split(",") if arguments["models"] else [*(SMALL if device == "cpu" else BATCHES)]
    end = began + 60 * float(arguments["minutes"] or (5 if device == "cpu" else 8))
    print("\n" + "".join(f"{name:>{width(name)}}" for name in COLUMNS), flush=True)
    rows = plan(models, arguments["batch"], words)
    flops: dict[str, float | None] = {}  # by model
    for number, row in enumerate(rows):
        left = end - time.monotonic()
        seconds = min(left, max(ROW_SECONDS[row["compile"]], left / (len(rows) - number)))
        in_process(measure, row | {"device": device, "words": words}, update=row, seconds=seconds)
        flops[row["model"]] = flop = row.pop("flop", flops.get(row["model"]))
        row |= shares(row, flop, names["name"])
        print("".join(f"{shown(row.get(name)):>{width(name)}}" for name in COLUMNS), flush=True)
        write(Path(arguments["output"]), rows)
    print(f"\nwrote   {arguments['output']}")
    print(json.dumps({"device": names["name"], "rows": rows}))


def check(arguments: dict[str, str]) -> None:
    """Exit with an error if an argument or a model is unknown."""
    if unknown := arguments.keys() - DEFAULTS.keys():
        sys.exit(f"error: unknown argument {min(unknown)}; known: {', '.join(DEFAULTS)}")
    if unknown := {*filter(None, arguments["models"].split(","))} - {path.stem for path in (CONF / "model").glob("*.yaml")}:
        sys.exit(f"error: models: unknown model {min(unknown)}")
    if arguments["device"] not in ("auto", "cpu", "cuda"):
        sys.exit(f"error: device: found {arguments['device']}, expected auto, cpu or cuda")


def plan(models: list[str], batch: str, words: list[str]) -> list[dict[str, Any]]:
    """Return one row for each measurement: first all models without `torch.compile`, then all models with it."""
    rows = []
    for compiled, model in product((False, True), models):
        options = (False, True) if OmegaConf.select(config_of(model, *words), CHECKPOINTING) is not None else (False,)
        for checkpointing in options:
            row = {"model": model, "checkpointing": checkpointing, "compile": compiled, "status": "skipped"}
            rows.append(row | {"batch": int(batch or BATCHES.get(model, 4))})
    return rows


def config_of(model: str, *words: str) -> Any:
    """Compose the training config with a model by its name."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"model={model}", "name=bench", *words])
    OmegaConf.resolve(config)
    return config


def in_process(task: Callable[[Any, Send], None], argument: Any, update: dict[str, Any], seconds: float) -> None:
    """Call a function in a new process, and stop the process when the time in seconds is over.

    Args:
        task: function that is called with `argument` and with a function that sends a dictionary to this process.
        argument: first argument of the function.
        update: dictionary that is updated with everything that the process sends.
        seconds: longest duration of the process in seconds. If it is negative, no process is started.
    """
    if seconds <= 0:
        return
    context = multiprocessing.get_context("fork")  # a new interpreter would import torch again, which takes seconds
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_task, args=(task, argument, sender))
    end = time.monotonic() + seconds
    process.start()
    sender.close()
    update["status"] = "stopped"
    while receiver.poll(max(0.0, end - time.monotonic())):
        try:
            update.update(receiver.recv())
        except EOFError:  # the process has ended
            process.join()
            if process.exitcode == -signal.SIGKILL:  # Linux ends a process this way if the RAM is used up
                update["status"] = "out of memory"
            elif process.exitcode:
                update["status"] = f"ended with status {process.exitcode}"
            break
    process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # type: ignore[arg-type]  # the processes of the compiler
    process.join()


def run_task(task: Callable[[Any, Send], None], argument: Any, sender: Connection) -> None:
    """Call a function in this new process, which becomes the first process of a group."""
    os.setsid()
    attempt(task, argument, sender.send)


def attempt(task: Callable[[Any, Send], None], argument: Any, send: Send) -> None:
    """Call a function, and send its error, if any, as the status."""
    try:
        task(argument, send)
    except Exception as error:  # the parent process prints it as the status of the model
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        text = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        send({"status": "out of memory" if full else text})


def find_device(device: str, send: Send) -> None:
    """Send the device (`cuda` or `cpu`) and its name. A separate process does this, because CUDA does not survive a fork."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    send({"device": device, "name": name})


def measure(row: dict[str, Any], send: Send) -> None:
    """Train a model for some steps, and send the results as soon as they are known."""
    device, batch = row["device"], row["batch"]
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    config = config_of(row["model"], *row["words"], *([f"{CHECKPOINTING}=true"] if row["checkpointing"] else []))
    task = build(config.model).to(device)
    separator = task.separator
    optimizer = build(config.optim.optimizer)(task.parameters())
    samples = separator.chunk_samples
    count = sum(parameter.numel() for parameter in separator.parameters())
    send({"parameters_m": round(count / 1e6, 2), "chunk_s": round(samples / separator.sample_rate, 2)})

    def gradients(mixture: torch.Tensor, sources: torch.Tensor) -> None:
        with torch.autocast(device, torch.bfloat16):
            estimate = separator(mixture)
            loss = task.loss(estimate, separator.training_target(mixture, sources, estimate))
        loss.backward()

    def audio(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (separator.channels, samples)
        mixture = torch.randn(batch, *shape, device=device)
        return mixture, torch.randn(batch, len(separator.targets), *shape, device=device)

    if not (row["compile"] or row["checkpointing"]):
        with FlopCounterMode(display=False, custom_mapping=RECURRENT) as counter, sdpa_kernel(SDPBackend.MATH):
            gradients(*audio(1))
        send({"flop": batch * counter.get_total_flops()})
        optimizer.zero_grad()
    inputs = audio(batch)
    if not row["compile"]:
        reset_peak(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            _ = task.eval().separator(inputs[0]).sources
        task.train()
        send({"forward_gb": peak(device)})
    if row["compile"]:
        compile_networks(task)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        gradients(*inputs)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    send({"first_step_s": round(step(), 2)})
    reset_peak(device)
    times: list[float] = []
    while len(times) < STEPS and sum(times) < STEP_SECONDS:
        times.append(step())
    send({"steps_per_s": float(f"{1 / statistics.median(times):.4g}"), "peak_gb": peak(device), "status": "ok"})


def lstm_flop(inputs: Any, weights: Any, *others: Any, **_: Any) -> int:
    """Count the operations of LSTM layers from the shapes of the inputs and of the weights.

    The first two dimensions of the inputs are frames and examples. cuDNN has one list of all weights. oneDNN has the two
    matrices of one layer as two arguments.
    """
    matrices = [weights, others[0]] if isinstance(weights[0], int) else [shape for shape in weights if len(shape) == 2]
    return 2 * inputs[0] * inputs[1] * sum(rows * columns for rows, columns in matrices)


def lstm_backward_flop(*shapes: Any, **others: Any) -> int:
    """Count the operations of the gradients of LSTM layers: the products for the inputs, and those for the weights."""
    return 2 * lstm_flop(*shapes, **others)


RECURRENT = {  # torch counts no operations of recurrent layers
    torch.ops.aten._cudnn_rnn: lstm_flop, torch.ops.aten.mkldnn_rnn_layer: lstm_flop,
    torch.ops.aten._cudnn_rnn_backward: lstm_backward_flop, torch.ops.aten.mkldnn_rnn_layer_backward: lstm_backward_flop,
}  # fmt: skip


def reset_peak(device: str) -> None:
    """Forget the peak memory so far."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # not on Linux, or forbidden
            Path("/proc/self/clear_refs").write_text("5")


def peak(device: str) -> float | None:
    """Return the peak memory since the last call of `reset_peak` in GB; None on a CPU without Linux."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    with suppress(OSError):
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) * 1024 / 1e9, 3)
    return None


def shares(row: dict[str, Any], flop: float | None, name: str) -> dict[str, float]:
    """Return the operations of a step, and the share of the peak speed of the GPU with this name, if they are known."""
    if flop is None:
        return {}
    found = {"tflop": float(f"{flop / 1e12:.4g}")}
    limits = [value for start, value in PEAKS.items() if name.startswith(start) and "MIG" not in name]
    if limits and "steps_per_s" in row:
        found["peak_share"] = float(f"{flop * row['steps_per_s'] / limits[0]:.3g}")
    return found


def width(column: str) -> int:
    """Return the width of a column of the table."""
    return {"model": 24, "status": 15}.get(column, max(9, len(column) + 2))


def shown(value: Any) -> str:
    """Return a value of the table as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)[:60]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table to a csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
