"""Convert the short form of several data sets, `data.sets=[{data: musdb, root: FOLDER, weight: 2}, …]`, to config keys.

Each item lists the name of a data set (a yaml file in `conf/data`), its folder, and optionally `weight`, `rules` and `name`.
All other keys of an item are options of the layout of this data set. Hydra then composes the key `data.layout.sets`, which
contains all options, so that the config of a run does not depend on the short form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from unbraid.commands.choices import CONF, PARSER, choices
from unbraid.commands.overrides import quoted
from unbraid.runs.errors import InputError, unknown

KEY = "data.sets"
OWN_KEYS = ("root", "weight", "rules")


def with_data_sets(words: Sequence[str]) -> list[str]:
    """Replace `data.sets=[…]` on a command line by `data=sets` and `++data.layout.sets={…}`.

    InputError is raised if the value is not a list of mappings, or an item has an unknown data set, lacks a folder, or has a
    used name.

    Args:
        words: arguments of the command line.

    Returns:
        The arguments. They are unchanged if none of them begins with `data.sets=`.
    """
    result = []
    for word in words:
        if word.startswith(f"{KEY}="):
            result += ["data=sets", f"++data.layout.sets={_spelled(_nodes(word))}"]
        else:
            result.append(word)
    return result


def _nodes(word: str) -> dict[str, Any]:
    expected = "a list such as [{data: musdb, root: FOLDER, weight: 2}, {data: moisesdb, root: FOLDER}]"
    try:
        items = PARSER.parse_override(word).value()
    except HydraException as error:
        hint = "Put folders with spaces or special characters in quotation marks"
        raise InputError(
            KEY, "this value cannot be read", found=word.partition("=")[2], expected=expected, hint=hint
        ) from error
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise InputError(KEY, found=items, expected=expected)
    nodes: dict[str, Any] = {}
    for number, item in enumerate(items):
        where, chosen = f"{KEY}[{number}]", str(item.get("data"))
        if chosen not in choices("data") or chosen == "sets":
            raise InputError(f"{where}.data", "unknown data set", found=chosen, hint=unknown(chosen, choices("data")))
        name = str(item.get("name", chosen))
        if name in nodes:
            raise InputError(f"{where}.name", "two data sets have the same name", found=name, hint="Add the key `name`")
        nodes[name] = _node(where, chosen, item)
    return nodes


def _node(where: str, chosen: str, item: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the config of one data set: the layout of its yaml file with the options of `item`, and the keys in `OWN_KEYS`."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        data = hydra.compose("train", [f"data={chosen}"]).data
    if "layout" not in data:
        raise InputError(f"{where}.data", "this data set contains no audio tracks", found=chosen)
    root = item.get("root", None if OmegaConf.is_missing(data, "root") else data.root)
    if root is None:
        raise InputError(f"{where}.root", "this key is missing", expected="the folder of the data set")
    options = {str(key): value for key, value in item.items() if key not in ("data", "name", *OWN_KEYS)}
    layout: Any = OmegaConf.to_container(data.layout)
    if other := next((key for key in options if key not in layout), None):
        raise InputError(f"{where}.{other}", "unknown key", hint=unknown(other, [*OWN_KEYS, *layout]))
    own = {key: item[key] for key in OWN_KEYS if key in item}
    return {"_target_": "unbraid.data.layouts.sets.DataSet", "layout": layout | options, **own, "root": str(root)}


def _spelled(value: Any) -> str:
    """Write a value in Hydra's grammar of overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else str(value)
