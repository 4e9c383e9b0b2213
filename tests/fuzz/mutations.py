"""Mutations of files for the fuzz targets. The same random generator gives the same mutation on every machine."""

import io
import json
import struct
import zipfile
from copy import deepcopy
from random import Random

import yaml

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WORDS = (
    b"nan", b"-inf", b"1e999", b"../../x", b"/etc/passwd", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"'\"", b"${oc.env:HOME}",
    b"\n\n", b"9" * 400, b"[" * 60, b"{}", b"null", b"true", b",", b":", b"&a [*a]", b"!!python/object/apply:os.system",
    b"_target_: os.system",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 2, 7, 1 << 16, 1 << 31, (1 << 63) - 1, 1 << 64, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), "", "x", ".", "..", "../x", "/etc/passwd", "a/b", "nan", "0", "\0", "\ud800", "é" * 300,
    "x" * 5000, "${a}", [], [[]], [None], [1, "a"], [0] * 2000, {}, {"": None}, {"a": {"b": []}},
    {"_target_": "os.system", "command": "touch MARKER"}, {"_target_": "unbraid.nets.unet.UNet"},
    {"_target_": "torch.nn.Linear", "in_features": 1 << 40, "out_features": 1 << 40},
)  # fmt: skip


def mutated_bytes(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change 1 to 8 places of a file: flips, numbers, words, truncation, removed, repeated and foreign parts."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
        place = random.randrange(len(changed) + 1)
        end = min(len(changed), place + random.choice((1, 2, 8, 64, 1024)))
        match random.randrange(8):
            case 0:
                if place < len(changed):
                    changed[place] ^= 1 << random.randrange(8)
            case 1:
                changed[place:end] = random.randbytes(end - place)
            case 2:
                size = random.choice((1, 2, 4, 8))
                number = random.choice(NUMBERS) & ((1 << 8 * size) - 1)
                changed[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))
            case 3:
                changed[place:place] = random.choice(WORDS)
            case 4:
                del changed[place:end]
            case 5:
                changed[place:place] = changed[place:end] * random.choice((1, 3, 50))
            case 6:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                changed[place:end] = other[start : start + random.choice((8, 64, 1024, len(other)))]
            case 7:
                if random.random() < 0.3:
                    del changed[place:]
    return bytes(changed)


def mutated_tree(tree, random: Random):
    """Change 1 to 3 values of nested mappings and lists: another type or size, a removed, renamed, repeated or moved value."""
    root = {"": tree}
    for _ in range(random.choice((1, 1, 2, 3))):
        parent, key = random.choice([*_places(root)])
        other, other_key = random.choice([*_places(root)])
        match random.randrange(6):
            case 0 | 1 | 2:
                parent[key] = deepcopy(random.choice(VALUES))
            case 3:
                if parent is not root:
                    del parent[key]
            case 4:
                if isinstance(parent, dict) and parent is not root:
                    parent[random.choice(("", "x", "../x", "_target_", str(other_key)))] = parent.pop(key)
                elif isinstance(parent, list):
                    parent.insert(key, deepcopy(parent[key]))
            case 5:
                parent[key] = deepcopy(other[other_key])
    return root[""]


def _places(tree):
    for key, value in [*(tree.items() if isinstance(tree, dict) else enumerate(tree))]:
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def mutated_text(data: bytes, random: Random, others: list[bytes], load, dump) -> bytes:
    """Change a document as a tree two times out of three, else as bytes."""
    try:
        tree = load(data)
    except (ValueError, yaml.YAMLError):
        return mutated_bytes(data, random, others)
    if random.random() < 1 / 3:
        return mutated_bytes(data, random, others)
    return dump(mutated_tree(tree, random)).encode(errors="surrogatepass")


def mutated_json(data: bytes, random: Random, others: list[bytes]) -> bytes:
    return mutated_text(data, random, others, json.loads, json.dumps)


def mutated_yaml(data: bytes, random: Random, others: list[bytes]) -> bytes:
    return mutated_text(data, random, others, yaml.safe_load, lambda tree: yaml.safe_dump(tree, allow_unicode=False))


def mutated_lines(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change one line of a JSONL file as a JSON document."""
    lines = data.splitlines()
    number = random.randrange(len(lines))
    lines[number] = mutated_json(lines[number], random, others)
    return b"\n".join(lines) + b"\n"


def mutated_zip(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change one entry of a checkpoint and store the entries with correct checksums, else change bytes of the archive."""
    if not zipfile.is_zipfile(io.BytesIO(data)) or random.random() < 1 / 4:
        return mutated_bytes(data, random, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    name = pickled if random.random() < 0.7 else random.choice([*entries])
    entries[name] = mutated_bytes(entries[name], random, [*entries.values()])
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return changed.getvalue()


def mutated_safetensors(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change the JSON header of a safetensors file and keep its length correct, else change bytes of the file."""
    (size,) = struct.unpack("<Q", data[:8])
    if random.random() < 1 / 3:
        return mutated_bytes(data, random, others)
    header = mutated_json(data[8 : 8 + size], random, others)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutated_onnx(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change the metadata of an ONNX file, else its bytes."""
    import onnx

    if random.random() < 2 / 3:
        return mutated_bytes(data, random, others)
    model = onnx.load_model_from_string(data)
    entry = random.choice(model.metadata_props)
    entry.value = mutated_json(entry.value.encode(), random, others).decode("latin-1")
    return model.SerializeToString()


def mutated_file(name: str, data: bytes, random: Random, others: list[bytes]) -> bytes:
    """Change a file with the mutation that fits the ending of its name."""
    ending = name.rpartition(".")[2]
    kinds = {
        "json": mutated_json, "yaml": mutated_yaml, "jsonl": mutated_lines, "ckpt": mutated_zip, "pth": mutated_zip,
        "safetensors": mutated_safetensors, "onnx": mutated_onnx,
    }  # fmt: skip
    return kinds.get(ending, mutated_bytes)(data, random, others)
