"""Paths on the command line reach the command unchanged, and unreadable values are shown with quotes."""

import random
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.commands.overrides import (
    LISTS,
    PATHS,
    as_typed,
    is_sweep,
    quote_paths,
    quoted,
    refuse_dashes,
    split_protocols,
    unreadable,
    with_keys,
)
from unbraid.runs.errors import InputError

PARSER = OverridesParser.create()
NAMES = [
    "café.wav", "ds/données", "don't.wav", 'say "hi".wav', "epoch=1-step=6.ckpt", "song [live].wav", "a (live).mp3", "{x}",
    "[live]", "日本語/曲", "#1", "100%", "a$b", " lead", "trail ", "a  b", "back\\slash", "end\\", "\\'", "a:b", "C:\\x", "1e3",
    "007", "true", "2024", "a,b", "a, b", "songs/*.mp3", "live(1)", "choice(a,b)", "str(1)", "x!", "a&b;c", "é'\"[{=,#", "a~b",
    "a\nb", "'half",
]  # fmt: skip
# Keys of texts that are not paths, and of choices.
NOT_PATHS = {
    "anomaly": {"split"}, "app": {"device"}, "dashboard": {"project", "entity"}, "encode": {"split"},
    "evaluate": {"oracle", "interpolate", "tta"}, "inspect": set(), "export": {"format", "quantise"}, "new": set(),
    "publish": {"license"},
    "ensemble": {"mode"}, "listening": {"target"}, "report": {"baseline", "measure", "protocol"}, "prepare": set(),
    "separate": {
        "channels", "format", "peaks", "precision", "device", "chunk_seconds", "overlap", "join", "batch_size",
        "interpolate",
    },
    "transfer": {"shift", "loudness"}, "wandb_sweep": {"objective", "direction", "method", "trials", "project", "entity"},
    "curve": {"measure"}, "train": {"memory", "power", "published", "resume"},
}  # fmt: skip
NOT_PATHS_OF_LAYOUTS = {"absent", "edition", "missing", "bleed", "lengths", "omitted", "instruments", "remix"}


def read(word):
    return PARSER.parse_override(word).value()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["baseline", "data.root", "checkpoint", "+data.layout.manifest", "hydra.run.dir"])
def test_a_path_means_what_was_typed(key, name):
    (word,) = quote_paths([f"{key}={name}"], sweeps=False)
    assert read(word) == name
    assert as_typed(word) == f"{key}={name}"
    assert quote_paths([word], sweeps=False) == [word]


def test_any_text_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    for _ in range(2000):
        name = "".join(draw.choice("ab'\"\\$[](){},=:# ~%é日\t*-+.?@|/1") for _ in range(draw.randint(1, 8)))
        in_quotes = name[0] in "'\"" and name[-1] == name[0]
        if "${" not in name and not in_quotes:
            assert read(quote_paths([f"name={name}"], sweeps=False)[0]) == name


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("baseline=skip=False", "skip=False"),
        ("baseline=null", None),
        ("data.root=null", None),
        ("output=", ""),
        ("input='song (live).mp3'", "song (live).mp3"),
        ('input="a,b.wav"', "a,b.wav"),
        ("input=[a.wav,b.wav]", ["a.wav", "b.wav"]),
        ("input=[café.wav, don't.wav,'a,b.wav']", ["café.wav", "don't.wav", "a,b.wav"]),
        ("runs=[a=1,b [2]]", ["a=1", "b [2]"]),
        ("runs=[]", []),
        ("data.root=${oc.env:DATA,/none}/é", "${oc.env:DATA,/none}/é"),
        ("hydra.run.dir=outputs/${name}", "outputs/${name}"),
    ],
)
def test_hydras_own_syntax_keeps_its_meaning(word, value):
    assert read(quote_paths([word], sweeps=False)[0]) == value


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("data.root=a,b", ["a", "b"]),
        ("data.root=données,b [1],'c,d'", ["données", "b [1]", "c,d"]),
        ("data.root=${oc.env:DATA,/none},b", ["${oc.env:DATA,/none}", "b"]),
        ("data.root=choice(a,b)", ["a", "b"]),
        ("input=[a,b],[c]", [["a", "b"], ["c"]]),
    ],
)
def test_commas_of_a_sweep_are_between_paths(word, values):
    (quoted_word,) = quote_paths([word], sweeps=True)
    assert [read(f"key={value}") for value in PARSER.parse_override(quoted_word).sweep_string_iterator()] == values


@pytest.mark.parametrize("name", ["a,b", "[x]", "'q'", "null"])
def test_a_path_that_exists_counts_as_typed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert read(quote_paths([f"input={name}"], sweeps=True)[0]) == name


def test_an_existing_path_with_an_interpolation_is_refused(tmp_path):
    (tmp_path / "${x}").mkdir()
    with pytest.raises(InputError) as caught:
        quote_paths([f"data.root={tmp_path}/${{x}}"], sweeps=False)
    assert caught.value.where == f"data.root={tmp_path}/${{x}}"


def test_a_folder_of_hydra_is_never_swept():
    assert read(quote_paths(["hydra.sweep.dir=a,b"], sweeps=True)[0]) == "a,b"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("targets=Gitarre für", "Gitarre für"),
        ("targets=808", "808"),
        ("targets=[piano,Lead Guitar,808,don't]", ["piano", "Lead Guitar", "808", "don't"]),
        ("targets=null", None),
        ("targets='a, b'", "a, b"),
    ],
)
def test_names_of_sources_mean_what_was_typed(word, value):
    assert read(quote_paths([word], sweeps=False)[0]) == value


def test_a_tilde_is_the_home_folder_or_a_letter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/é")
    Path("~lead.wav").touch()
    words = ["output=~/a b", "hydra.run.dir=~", "input=~lead.wav", "input=[~lead.wav,~/x]", "run=~nobody here", "name=~x"]
    here = str(tmp_path)
    assert [read(word) for word in quote_paths(words, sweeps=False)] == [
        "/home/é/a b", "/home/é", f"{here}/~lead.wav", [f"{here}/~lead.wav", "/home/é/x"], f"{here}/~nobody here", "~x",
    ]  # fmt: skip


def test_other_words_stay_as_they_are():
    words = ["-m", "seed=0,1", "model.net.hidden=[1,2]", "+search={a:b}", "~targets", "--cfg", "job", "name"]
    assert quote_paths(words, sweeps=False) == words
    assert [*map(as_typed, words)] == words


def test_a_sweep_is_known_by_option_and_by_yaml():
    assert not is_sweep(["data.root=a,b", "launcher=local"], "train")
    assert is_sweep(["data.root=a,b"], "wandb_sweep")
    for word in ("-m", "--multirun", "hydra.mode=MULTIRUN", "launcher=slurm", "launcher=ray"):
        assert is_sweep([word], "train"), word


def test_every_key_that_may_take_a_path_is_classified():
    for file in CONF.glob("*.yaml"):
        keys = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        texts = {key for key, value in keys.items() if (value is None or isinstance(value, str)) and key not in PATHS}
        assert texts <= NOT_PATHS[file.stem] | {"defaults"}, file.stem
        lists = {key for key, value in keys.items() if isinstance(value, list)} - {
            "defaults",
            "inject",
            "words",
            "conditions",
            "plugins",
            "freeze",
            "more_protocols",
        }
        assert lists <= LISTS, file.stem
    for file in (CONF / "data").glob("*.yaml"):
        layout = OmegaConf.load(file).get("layout") or {}
        texts = {key for key, value in layout.items() if value is None or isinstance(value, str)} - {"_target_"}
        assert {key for key in texts if f"data.layout.{key}" not in PATHS} <= NOT_PATHS_OF_LAYOUTS, file.stem


@pytest.mark.parametrize("value", ["café", "don't", "a=b", "[1,2", "live(1)", "#1"])
def test_an_unreadable_value_is_shown_with_quotes(value):
    error = unreadable(f"logger.wandb.project={value}")
    assert (error.where, error.found) == ("logger.wandb.project", value)
    typed = shlex.split(error.hint)[-1]
    assert read(typed) == value and typed == f"logger.wandb.project={quoted(value)}"


def test_quotes_of_the_shell_are_readable():
    assert unreadable("measure=a=b").hint.endswith(""" "measure='a=b'\"""")
    assert shlex.split(unreadable("measure=$x=1").hint)[-1] == "measure='$x=1'"


def test_a_list_is_typed_with_its_texts_in_quotes():
    hint = unreadable("data.layout.test=[Sigur Rós, 'a,b',c]").hint
    assert shlex.split(hint)[-1] == "data.layout.test=['Sigur Rós','a,b',c]"


def test_notes_and_tags_are_free_text():
    words = quote_paths(["notes=lr (1e-3), better? don't know", "tags=[é,1,b]"], sweeps=True)
    assert read(words[0]) == "lr (1e-3), better? don't know"
    assert read(quote_paths(["tags=[é,1,b]"], sweeps=False)[0]) == ["é", "1", "b"]


def test_a_word_that_hydra_cannot_read_ends_the_command(cli):
    status, out, err = cli("logger=wandb", "logger.wandb.project=café")
    assert (status, out) == (1, "") and err == f"error: {unreadable('logger.wandb.project=café')}\n"


def test_sources_are_a_mapping_a_list_or_a_file():
    key = "data.layout.sources"
    words = [f'{key}={{vocals: ["*vox*"]}}', f"{key}=[drums,bass]", f"{key}=null", f"{key}=données.yaml"]
    assert quote_paths(words, sweeps=False) == [*words[:3], f"{key}='données.yaml'"]


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("separate", ["RUN", "song.mp3"], ["run=RUN", "input=song.mp3"]),
        ("separate", ["RUN", "a.mp3", "output=x", "b, c.mp3"], ["run=RUN", "output=x", "input=['a.mp3','b, c.mp3']"]),
        ("evaluate", ["RUN", "protocol=musdb18"], ["run=RUN", "protocol=musdb18"]),
        ("report", ["SWEEP"], ["sweep=SWEEP"]),
        ("report", ["SWEEP", "more"], ["sweep=SWEEP", "more"]),
        ("train", ["unet"], ["unet"]),
        ("separate", ["--config-dir", "conf", "-m", "RUN"], ["--config-dir", "conf", "-m", "run=RUN"]),
        ("separate", ["~phase", "+x", "RUN"], ["~phase", "+x", "run=RUN"]),
    ],
)
def test_words_without_a_key_get_their_key(command, words, expected):
    assert with_keys(words, command) == expected


@pytest.mark.parametrize(
    ("words", "where", "typed"),
    [
        (["--run", "R", "--input", "a b"], "--input", "run=R 'input=a b'"),
        (["--input=x", "run=R"], "--input=x", "input=x run=R"),
        (["-m", "seed=0", "--model"], "--model", "-m seed=0 model=VALUE"),
    ],
)
def test_keys_with_dashes_are_refused(words, where, typed):
    with pytest.raises(InputError) as error:
        refuse_dashes(words)
    assert error.value.where == where and error.value.hint == f"Type {typed}"


def test_options_of_hydra_are_accepted():
    refuse_dashes(["--multirun", "--cfg", "job", "--config-dir", "conf", "--multi", "-m", "x=--y"])


def test_the_name_of_a_folder_may_contain_equals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep/0-seed=0").mkdir(parents=True)
    assert with_keys(["sweep/0-seed=0"], "evaluate") == ["run=sweep/0-seed=0"]
    assert with_keys(["run=sweep/0-seed=0", "a=b"], "evaluate") == ["run=sweep/0-seed=0", "a=b"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("protocol=[a]", ["protocol=a", "more_protocols=[]"]),
        ("protocol=[a, b,a,c]", ["protocol=a", "more_protocols=[b,c]"]),
        ("protocol=a", ["protocol=a"]),
        ("protocol=[]", ["protocol=[]"]),
        ("protocol.sources=[a,b]", ["protocol.sources=[a,b]"]),
    ],
)
def test_a_list_of_protocols_is_split(word, expected):
    assert split_protocols(["run=x", word], "evaluate") == ["run=x", *expected]
    assert split_protocols([word], "train") == [word]
