"""Settings from the command line: lists, ranges, and what would change nothing."""

import importlib
import re

import pytest

from jaxad import data
from jaxad.commands import cli
from jaxad.commands.train import train
from jaxad.data.settings import require_ranges
from jaxad.errors import UserError
from jaxad.methods import settings

CONFIGS = sorted(p.stem for p in cli.SHIPPED.glob("*.py") if p.stem != "__init__")


def configured(config, *flags):
    """The config after these flags."""

    def define(values, arguments):
        cli.define_config(values, arguments, required=True)

    argv = ["test", f"--config={config}", *(f"--config.{flag}" for flag in flags)]
    return cli.parsed(define, argv, "").config


def made(name, variant=""):
    return importlib.import_module(f"jaxad.configs.{name}").get_config(variant)


def tuples(section, prefix=""):
    """Every setting that is a list, "SECTION.NAME" -> its value."""
    for key, value in section.items():
        if isinstance(value, tuple):
            yield prefix + key, value
        elif hasattr(value, "items"):
            yield from tuples(value, f"{prefix}{key}.")


def value_of(config, name):
    for part in name.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize(
    "written",
    ["pca,mass", "pca, mass", "(pca,mass)", "[pca, mass]", "('pca', 'mass')", "'pca','mass'"],
)
def test_baselines_as_people_write_them(written):
    assert configured("cathode", f"baselines={written}").baselines == ("pca", "mass")


@pytest.mark.parametrize(("written", "found"), [("pca", ("pca",)), ("()", ()), ("", ())])
def test_one_baseline_or_none(written, found):
    assert configured("toptagging_ae", f"baselines={written}").baselines == found


@pytest.mark.parametrize("name", CONFIGS)
def test_every_list_of_every_config_can_be_set(name):
    listed = dict(tuples(made(name)))
    assert "baselines" in listed
    wanted = {key: ("pca", "mass") if key == "baselines" else (3, 2) for key in listed}
    flags = [f"{key}={','.join(map(str, value))}" for key, value in wanted.items()]
    found = configured(name, *flags)
    assert {key: value_of(found, key) for key in listed} == wanted


def test_words_where_numbers_belong(capsys):
    with pytest.raises(SystemExit):
        configured("cathode", "flow.hidden=large")
    assert "flow.hidden: expected numbers like 64,64, found 'large'" in capsys.readouterr().err


def test_a_config_by_its_name_as_a_word_of_its_own(capsys):
    def define(values, arguments):
        cli.define_config(values, arguments, required=True)

    argv = ["test", "--config", "cathode:smoke", "--config.train.epochs", "3"]
    assert cli.parsed(define, argv, "").config.train.epochs == 3
    with pytest.raises(SystemExit):
        cli.parsed(define, ["test", "--config", "cathod"], "")
    assert "cathod: no such config file, and none of jaxad's" in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_of_every_config_has_a_range_and_lies_in_it(name, variant):
    config = made(name, variant)
    settings.check(config)
    for prefix, section in settings._sections(config):
        for key, value in section.items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            assert not numeric or key in settings.RANGES, prefix + key


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("toptagging_ae", {"seed": -1}, "seed: expected 0 to 2147483647, found -1"),
        ("toptagging_ae", {"seed": 2**32}, "seed: expected 0 to 2147483647, found 4294967296"),
        ("toptagging_ae", {"data.seed": -1}, "data.seed: expected 0 to 2147483647, found -1"),
        ("toptagging_ae", {"train.batch_size": 0}, "train.batch_size: expected 1 or more, found 0"),
        ("toptagging_ae", {"train.epochs": -2}, "train.epochs: expected 1 or more, found -2"),
        ("cathode", {"train.ensemble": 0}, "train.ensemble: expected 1 or more, found 0"),
        ("cathode", {"flow_train.keep_best": 0}, "flow_train.keep_best: expected 1 or more"),
        ("cathode", {"flow_train.learning_rate": 0.0}, "flow_train.learning_rate: expected a num"),
        ("cathode", {"train.learning_rate": float("nan")}, "train.learning_rate: .* found nan"),
        ("cathode", {"train.b2": 1.0}, "train.b2: expected a number between 0 and 1, found 1.0"),
        ("cathode", {"classifier.folds": 1}, r"classifier.folds: expected 0 .* or 2 and more"),
        ("cathode", {"classifier.members": 0}, "classifier.members: expected 1 or more, found 0"),
        ("cathode", {"flow.hidden": (64, 0)}, "flow.hidden: expected one or more widths"),
        ("cathode", {"flow.hidden": ()}, "flow.hidden: expected one or more widths"),
        ("cathode", {"flow.hidden": (8.5,)}, "flow.hidden: expected one or more widths"),
        ("cathode", {"flow.eps": 0.5}, "flow.eps: expected a number above 0, below 0.5"),
        ("cathode", {"method.oversampling": 0.0}, "method.oversampling: expected a number above 0"),
        ("cathode", {"data.n_signal": -1}, "data.n_signal: expected 0 or more, found -1"),
        ("cathode", {"data.window_low": -1.0}, "data.window_low: expected a mass in TeV"),
        (
            "ranode",
            {"method.initial_fraction": 1.0},
            "method.initial_fraction: expected a numb",
        ),
        ("adc2021_ae", {"method.beta": 1.5}, "method.beta: expected 0 to 1, found 1.5"),
        ("adc2021_ae", {"trigger.rates": (1e9,)}, "trigger.rates: expected at most trigger.input"),
        ("adc2021_shallow", {"method.nu": 0.0}, "method.nu: expected a number above 0, at most 1"),
        ("interpretable_hln", {"teacher.train.epochs": 0}, "teacher.train.epochs: expected 1 or"),
        ("interpretable_hln", {"method.n_taus": 6}, "method.n_taus: expected 0 to 5, found 6"),
        ("jets_best", {"inputs.efp_degree": -1}, r"inputs.efp_degree: expected 0 \(none\) or more"),
        ("jets_best", {"pca.components": 0}, "pca.components: expected 1 or more, found 0"),
        ("toptagging_ae", {"inputs.n_pixels": 0}, "inputs.n_pixels: expected 1 or more, found 0"),
        ("adc2021_quantized", {"method.weight_bits": 1}, "weight_bits: expected 2 to 12, found 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(name, changes, message):
    config = made(name)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = value_of(config, ".".join(sections)) if sections else config
        section[last] = value
    with pytest.raises(UserError, match=message) as error:
        settings.check(config)
    assert "\n" not in str(error.value)


def test_settings_of_a_teacher_change_nothing_where_a_run_is_the_teacher():
    for name, variant in (("interpretable_hln", ""), ("adc2021_student", "smoke")):
        config = made(name, variant)
        assert not [key for key in settings.idle(config) if key.startswith("teacher")]
        config.method.teacher = "runs/other"
        assert settings.idle(config)["teacher.train.epochs"] == "method.teacher is trained already"


@pytest.mark.parametrize(("section", "key"), [("train", "batch_size"), ("data", "n_simulated")])
def test_they_are_refused_before_anything_is_done(section, key, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    config = made("toptagging_ae")
    config[section][key] = 0
    with pytest.raises(UserError, match=f"{section}.{key}: expected 1 or more, found 0"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_truth_value_is_no_number():
    with pytest.raises(UserError, match=r"train.epochs: expected 1 or more, found True"):
        require_ranges({"epochs": True}, "train.", settings.RANGES)


@pytest.mark.parametrize(
    ("config", "flags", "said"),
    [
        (
            "adc2021_quantized",
            ["method.beta=1e-4"],
            "beta changes nothing: it is of method.learned",
        ),
        (
            "adc2021_quantized",
            ["method.target=none", "train.epochs=9"],
            "train.epochs changes nothing: method.target=none trains nothing",
        ),
        ("iad", ["flow_train.epochs=2"], "flow_train.epochs changes nothing: method.name=iad does"),
        (
            "cathode",
            ["flow.n_bins=4", "flow.coupling=affine"],
            "n_bins changes nothing: it is of flow.coupling=spline",
        ),
        ("cathode", ["flow.name=matching", "flow.n_layers=4"], "n_layers .* or autoregressive"),
        ("cathode", ["classifier.name=trees", "train.epochs=2"], "train.epochs .*trees are fitted"),
        ("cathode", ["classifier.max_iter=9"], "max_iter .*classifier.name=network does not read"),
        ("anode", ["classifier.members=9"], "classifier.members changes nothing: anode does not"),
        ("adc2021_shallow", ["method.nu=.1"], "nu changes nothing: method.name=isolation_forest"),
        (
            "codae",
            ["method.samples=3"],
            "samples changes nothing: it is of model.name=codvae",
        ),
        (
            "cathode",
            ["train.ensemble=3"],
            "train.ensemble .* classifier.members and classifier.runs",
        ),
        ("adc2021_ae", ["method.beta=.1"], "beta .* model.name=exercise is not variational"),
        ("codae", ["model.weights=a.npz", "train.epochs=3"], "epochs .* model.weights replace the"),
        ("toptagging_ae", ["inputs.rotate=True"], "rotate .* it is of inputs.name=trigger_event"),
        ("toptagging_ae", ["inputs.unskew=True"], "unskew .* it is of inputs.name=jet_features"),
        ("jets_best", ["method.n_trees=9"], "n_trees .* method.name=two_views does not read it"),
        ("toptagging_ae", ["train.weight_decay=.1"], "weight_decay .* of train.optimizer=adamw"),
        ("toptagging_ae", ["train.plateau_factor=.5"], "plateau_factor .*plateau_patience is 0"),
        ("search", ["search.width=300."], "search.width changes nothing: it is of search.scan"),
        ("search", ["search.inject=signal.csv"], "search.inject .* it is of search.power"),
        ("search", ["train.clip=1."], "train.clip .* a search trains for train.epochs by Adam"),
        ("search", ["classifier.name=discriminant", "train.epochs=3"], "epochs .* fitted at once"),
    ],
)
def test_settings_that_change_nothing_are_told(config, flags, said, capsys):
    configured(config, *flags)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.match(f"note: --config.*{said}", lines[0])


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        ("cathode", ["flow.coupling=spline", "flow.n_bins=4", "train.epochs=3"]),
        ("anode", ["flow.name=autoregressive", "flow.coupling=spline", "flow.n_layers=3"]),
        ("ranode", ["signal_flow.coupling=affine", "train.epochs=40", "classifier.members=1"]),
        ("anode", ["classifier.runs=3", "flow_train.epochs=3", "region_train.epochs=3"]),
        ("adc2021_shallow", ["method.name=one_class_svm", "method.nu=.1"]),
        ("codvae", ["method.samples=3", "train.ensemble=2"]),
        ("adc2021_vae", ["method.beta=.1", "model.name=conv_vae"]),
        ("jets_best", ["inputs.n_pixels=16", "pca.components=8", "method.n_neighbours=5"]),
        ("toptagging_ae", ["train.schedule=cosine", "train.min_learning_rate=1e-5"]),
        ("search", ["search.scan=3:4", "search.width=.4", "search.step=.2", "train.epochs=3"]),
        ("search", ["search.power=20,40", "search.inject=gauss:3.5:.05", "classifier.members=2"]),
    ],
)
def test_settings_that_change_something_are_taken_in_silence(config, flags, capsys):
    configured(config, *flags)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        ("toptagging_ae", ["data.split=published", "data.val_fraction=.2"], "data.split=published"),
        ("codae", ["data.supervised_fraction=.2"], "data.supervised is False: set it to True"),
        ("hls4ml_ae", ["data.label_key=", "data.background=1"], "without data.label_key the whole"),
        (
            "hls4ml_ae",
            ["data.window=1-2", "data.test_fraction=.1"],
            "parts of a search are 1/2",
        ),
        ("hls4ml_ae", ["data.supervised_fraction=.2"], "data.supervised is False: set it to True"),
        ("features_ae", ["data.units=MeV"], "nothing of data.format=features has a unit"),
        (
            "adc2021_ae",
            ["data.source=files", "data.n_simulated=9"],
            "for data.source=simulation",
        ),
    ],
)
def test_settings_of_data_that_change_nothing_are_refused(config, flags, message, capsys):
    with pytest.raises(SystemExit):
        configured(config, *flags)
    assert re.search(f"error: data.* would change nothing: .*{message}", capsys.readouterr().err)


def test_a_smoke_config_can_be_pointed_at_prepared_arrays(tmp_path, capsys):
    """What it injects into its simulation is no setting of the arrays, which would refuse it."""
    (tmp_path / "innerdata_train.npy").touch()
    assert made("cathode", "smoke").data.n_signal == 100
    found = configured("cathode:smoke", f"data.source={tmp_path}")
    assert found.data.n_signal == 1000
    assert "data.n_signal=100 of the config is not for this data.source" in capsys.readouterr().err


def test_a_search_is_not_trained(tmp_path):
    with pytest.raises(UserError, match="run jaxad search"):
        train(made("search", "smoke"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("network", "idle"),
    [("dense_vae", False), ("encoder", False), ("encoder_norm", False), ("dense_ae", True)],
)
def test_the_weight_of_the_divergence_is_of_variational_networks(network, idle):
    config = made("adc2021_vae")
    config.model.name = network
    assert ("method.beta" in settings.idle(config)) == idle
