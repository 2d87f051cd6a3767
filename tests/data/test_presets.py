"""Presets: files with the published names, shapes and dtypes give the events written into them."""

import re
import tomllib

import h5py
import numpy as np
import pytest
from documents import ROOT, blocks
from lhco_events import write_frame
from published_layouts import CASES as FURTHER
from published_layouts import J1, massive
from random_jets import random_jets

from jaxad import data
from jaxad.__main__ import main
from jaxad.data import download, preset
from jaxad.data.dataset import counts
from jaxad.errors import UserError
from jaxad.observables.momenta import four_momenta

N = 30
HLS4ML_NAMES = {
    "particleFeatureNames": np.array([f"j1_{name}" for name in J1.split()], "S"),
    "jetFeatureNames": np.array(
        [*(f"j_{i}" for i in range(53)), *(f"j_{name}" for name in "gqwzt"), "j_index"], "S"
    ),
}


def write(path, **arrays):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip")
    return path


def jets(seed=0, n_slots=8):
    """(N, n_slots, 3) pT [GeV], eta, phi around 0; the last two slots are padding."""
    x = random_jets(seed, N, n_slots).astype(np.float64)
    x[:, -2:] = 0
    return x


def lhco(folder, labelled):
    x = np.zeros((N, 700, 3))
    x[:, :8] = jets()
    columns = x.reshape(N, 2100)
    if labelled:
        columns = np.column_stack([columns, np.arange(N) % 3 == 0])
    write_frame(folder / "a.h5", columns, map(str, range(columns.shape[1])))
    return folder / "a.h5", folder / "a.h5", x[0]


def jetnet(folder, n_slots, suffix):
    for seed, name in enumerate("gqtwz"):
        x, pt = jets(seed, n_slots), np.linspace(800, 1200, N)
        relative = x[..., 0] / x[..., 0].sum(axis=1, keepdims=True)
        mask = x[..., 0] > 0
        # A masked slot is empty whatever stands in it.
        particles = np.stack([x[..., 1], x[..., 2], relative, mask], -1)
        particles[~mask, :3] = (0.1, -0.1, 0.5)
        features = np.stack([pt, x[:, 0, 1], pt / 10, mask.sum(axis=1)], -1)
        file = write(
            folder / f"{name}{suffix}.hdf5",
            particle_features=particles.astype(np.float32),
            jet_features=features.astype(np.float32),
        )
        if name == "g":
            first = np.stack([800 * relative[0], x[0, :, 1], x[0, :, 2]], -1) * mask[0][:, None]
            expected = file, first
    return folder, *expected


def hls4ml(folder):
    x = jets()
    lists = np.full((N, 8, 16), 7.0)
    lists[..., [5, 8, 11]] = x
    table = np.zeros((N, 59))
    table[np.arange(N), 53 + np.arange(N) % 5] = 1
    table[:, -1] = np.arange(N)
    file = write(
        folder / "jetImage_7_100p_0_10000.h5",
        jetConstituentList=lists.astype(np.float32),
        jets=table.astype(np.float32),
        **HLS4ML_NAMES,
    )
    return folder, file, x[0]


def atlas(folder):
    x = jets()
    file = write(
        folder / "train_nominal_000.h5",
        fjet_clus_pt=(1000 * x[..., 0]).astype(np.float32),
        fjet_clus_eta=x[..., 1].astype(np.float32),
        fjet_clus_phi=x[..., 2].astype(np.float32),
        fjet_clus_E=(1000 * x[..., 0] * np.cosh(x[..., 1])).astype(np.float32),
        labels=(np.arange(N) % 3 == 0).astype(np.int32),
        training_weights=np.arange(N) / 10,
    )
    return folder, file, x[0] * (1000, 1, 1)


def quark_gluon(folder):
    for seed, (name, n_slots) in enumerate({"QG_jets": 9, "QG_jets_1": 8}.items()):
        x = jets(seed, n_slots)
        pid = np.where(x[..., :1] > 0, 211, 0)
        rows = np.concatenate([x, pid], axis=-1)[:, ::-1]  # by rising pT
        file = write(folder / f"{name}.npz", X=rows, y=np.arange(N) % 2.0)
    write(folder / "QG_jets_withbc_0.npz", X=rows[:3], y=np.zeros(3))
    return folder, file, massive(x[0], 0.1395704)


def aspen(folder):
    x = jets()
    energy, px, py, pz = np.moveaxis(four_momenta(x), -1, 0)
    candidates = np.full((N, 8, 11), 3.0)
    candidates[..., :4] = np.stack([px, py, pz, energy], -1)
    candidates[..., 10] = 0.5
    file = write(
        folder / "RunG_batch0.h5",
        PFCands=candidates.astype(np.float32)[:, ::-1],
        event_info=np.arange(3 * N).reshape(N, 3) + 2**40,
        jet_kinematics=np.arange(4.0 * N, dtype=np.float32).reshape(N, 4),
    )
    return folder, file, 0.5 * four_momenta(x)[0]


def omnilearned(folder):
    x = jets()
    x[0, 3, 0] = 1  # log pT is 0 there
    there = x[..., 0] > 0
    pt, energy = (
        np.log(np.where(there, v, 1)) for v in (x[..., 0], x[..., 0] * np.cosh(x[..., 1]))
    )
    rows = np.stack([x[..., 1], x[..., 2], pt, energy], -1)
    file = write(
        folder / "train" / "train_0.h5", data=rows.astype(np.float32), pid=np.arange(N) % 2
    )
    return folder, file, x[0]


CASES = {
    "lhco_rnd": (lambda folder: lhco(folder, True), {"Wprime": 10}),
    "lhco_blackbox": (lambda folder: lhco(folder, False), {}),
    "jetnet30": (lambda folder: jetnet(folder, 30, ""), {"t": N, "W": N, "Z": N}),
    "jetnet150": (lambda folder: jetnet(folder, 150, "150"), {"t": N, "W": N, "Z": N}),
    "hls4ml": (hls4ml, {"W": 6, "Z": 6, "t": 6}),
    "atlas_toptag": (atlas, {"top": 10}),
    "quark_gluon": (quark_gluon, {"quark": N}),
    "aspen": (aspen, {}),
    "omnilearned": (omnilearned, {}),
}
BACKGROUND = {"jetnet30": 2 * N, "jetnet150": 2 * N, "hls4ml": 12, "lhco_rnd": 20}
BACKGROUND |= {"atlas_toptag": 20, "omnilearned": 15}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name -> source, a file of it, and its first event."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, (make, _) in CASES.items()}


def test_every_preset_is_tested():
    # jetclass: test_jagged.py; the other cases: test_published.py
    assert sorted([*CASES, "jetclass", *FURTHER]) == preset.names()


@pytest.mark.parametrize("name", CASES)
def test_published_layouts_give_the_events_in_them(files, name):
    source, file, first = files[name]
    config = data.get_config("events", preset=name, source=str(source))
    assert config.name == "events" and config.preset == ""
    with data.open_events(config, str(file)) as events:
        found = np.asarray(events[0:1])[0]
    np.testing.assert_allclose(found[: len(first)], first, rtol=2e-6, atol=1e-6)
    dataset = data.load(config)
    n = counts(dataset)
    assert {k: n[f"signals.{k}"] for k in dataset.signals} == CASES[name][1]
    assert n["train"] + n["val"] + n["test"] == BACKGROUND.get(name, N)


def test_columns_beside_the_particles(files):
    source, *_ = files["atlas_toptag"]
    dataset = data.load(data.get_config("events", preset="atlas_toptag", source=str(source)))
    weights = np.concatenate([rows["weight"] for _, rows in dataset.parts()])
    np.testing.assert_allclose(np.sort(weights), np.arange(N, dtype=np.float32) / 10, rtol=1e-6)
    np.testing.assert_allclose(
        dataset.signals["top"]["pt"],
        np.hypot(*(four_momenta(dataset.signals["top"]["x"]).sum(1).T[1:3])) / 1000,
        rtol=1e-5,
    )
    source, *_ = files["aspen"]
    train = data.load(data.get_config("events", preset="aspen", source=str(source))).train
    np.testing.assert_array_equal(train["event"][:, 0] - 2**40, train["event"][:, 1] - 2**40 - 1)
    row = (train["event"][:, 0] - 2**40) // 3
    np.testing.assert_array_equal(train["softdrop_mass"], 4 * row + 3)


def test_real_events_of_the_lhc_olympics(shared_data):
    path = shared_data / "lhco_raw_1k.h5"
    dataset = data.load(data.get_config("events", preset="lhco_rnd", source=str(path)))
    assert counts(dataset)["signals.Wprime"] == 93
    assert np.median(dataset.train["pt"]) < 0.1 * np.median(dataset.train["mass"])


def test_real_jets_in_the_published_columns_are_the_same_jets(shared_data, tmp_path):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        x, label = file["constituents"][:1000], file["label"][:1000]
    lists, table = sixteen(x), np.zeros((1000, 59), np.float32)
    table[:, -6:-1] = np.eye(5)[label]
    for part in range(2):
        rows = slice(500 * part, 500 * part + 500)
        stored = {"jetConstituentList": lists[rows], "jets": table[rows]}
        write(tmp_path / f"jetImage_7_100p_{part}0000_0.h5", **stored, **HLS4ML_NAMES)
    write(tmp_path / "a.h5", x=x, label=label)
    own = {"label_key": "label", "background": "0,1", "signals": "W=2,Z=3,t=4"}
    expected = data.load(data.get_config("events", source=str(tmp_path / "a.h5"), **own))
    found = data.load(data.get_config("events", preset="hls4ml", source=str(tmp_path)))
    assert found.info["digest"] == expected.info["digest"]


def sixteen(x):
    """The columns of hls4ml's jetConstituentList of (N, n, 3); the axis is that of the jet."""
    pt, eta, phi = np.moveaxis(x.astype(np.float64), -1, 0)
    energy, px, py, pz = np.moveaxis(four_momenta(x), -1, 0)
    total = energy.sum(axis=1, keepdims=True)
    radius, costheta = np.hypot(eta, phi), np.tanh(eta)
    columns = (
        *(px, py, pz, energy, energy / total, pt, pt / pt.sum(axis=1, keepdims=True)),
        *(eta, eta, eta, phi, phi, phi, radius, costheta, costheta),
    )
    return np.stack(columns, -1).astype(np.float32)


def test_a_renamed_or_moved_column_is_found_by_its_name(files, tmp_path):
    _, file, first = files["hls4ml"]
    names = HLS4ML_NAMES["particleFeatureNames"]
    with h5py.File(file) as stored:
        moved = {key: stored[key][()] for key in stored}
    moved["jetConstituentList"] = moved["jetConstituentList"][..., ::-1]
    moved["particleFeatureNames"] = names[::-1]
    write(tmp_path / "jetImage_a.h5", **moved)
    config = data.get_config("events", preset="hls4ml", source=str(tmp_path))
    with data.open_events(config, str(tmp_path / "jetImage_a.h5")) as events:
        np.testing.assert_allclose(events[0:1][0], first, rtol=2e-6, atol=1e-6)
    config.x_key = config.x_key.replace("j1_pt", "j1_pT")
    with pytest.raises(UserError, match=r"List: no column 'j1_pT'; found .*; nearest j1_pt, "):
        data.load(config)


def test_flags_win_and_the_rest_is_the_presets(files, capsys):
    source, *_ = files["quark_gluon"]
    flags = ["--config=hls4ml_ae", "--config.data.preset=quark_gluon"]
    flags += [f"--config.data.source={source}", "--config.data.signals=gluon=0"]
    assert main(["data", "show", *flags, "--config.data.background=1"]) == 0
    shown = capsys.readouterr().out
    assert "x (9, 4)" in shown and "gluon" in shown and "quark " not in shown
    config = data.get_config("events", preset="atlas_toptag", units="GeV", source="a.h5")
    assert config.units == "GeV" and config.weight_key == "training_weights|weights"


OWN = """
title = "two planar files"
[settings]
x_key = "pt,eta,phi"
[files]
background = "qcd*.h5"
signals = { top = "top*.h5" }
"""


def test_a_file_of_ones_own(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(OWN)
    for seed, name in enumerate(("qcd", "qcd2", "top")):
        pt, eta, phi = np.moveaxis(jets(seed), -1, 0)
        write(tmp_path / f"{name}.h5", pt=pt, eta=eta, phi=phi)
    own = str(tmp_path / "mine.toml")
    assert main(["data", "describe", own]) == 0
    assert "of a folder  background qcd*.h5" in capsys.readouterr().out
    dataset = data.load(data.get_config("events", preset=own, source=str(tmp_path)))
    assert len(dataset.signals["top"]["x"]) == N and sum(counts(dataset).values()) == 3 * N


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("x_key", "x_kye"), r"settings.x_kye: no field .* did you mean 'x_key'\?"),
        (("title", "titel"), r"titel: no field of a preset: expected one of title, .*'title'"),
        (('"pt,eta,phi"', "3"), "settings.x_key: expected text in quotes, found 3"),
        (("x_key =", "n_events = 3\nx_key ="), "settings.n_events: a preset says what"),
        (("title", "[title"), "mine.toml: expected a preset, a TOML file, found: .*line 2"),
        (("background", "backgrund"), "files.backgrund: .* did you mean 'background'"),
        (('title = "two planar files"', ""), "title: expected in every preset, found none"),
        (('"top*.h5"', "3"), "files.signals.top: expected text in quotes, found 3"),
    ],
)
def test_what_a_preset_cannot_say(tmp_path, change, message):
    assert change[0] in OWN
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(UserError, match=message) as error:
        preset.read(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_presets_that_are_not_there():
    with pytest.raises(UserError, match=r"data.preset: expected one of .*did you mean 'jetnet30'"):
        data.get_config("events", preset="jetnet3")
    with pytest.raises(UserError, match=r"no such file; give data.preset a name or the path"):
        data.get_config("events", preset="mine.toml")
    with pytest.raises(UserError, match=r"data.preset: aspen fills .* found data.name=lhco"):
        data.get_config("lhco", preset="aspen")
    config = data.get_config("events", source="a.h5")
    config.preset = "aspen"
    with pytest.raises(UserError, match=r"data.preset: aspen is not filled in"):
        data.load(config)


def test_list_and_describe(capsys):
    assert main(["data", "list"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert listed == {*preset.names(), *download.SETS}
    for name in preset.names():
        assert main(["data", "describe", name]) == 0
        shown = capsys.readouterr().out
        content = tomllib.loads((preset.FOLDER / f"{name}.toml").read_text())
        assert content["title"] in shown and content["container"] in shown
        keys = re.findall(r"--config\.data\.(\w+)=", shown)
        assert set(content["settings"]) <= set(keys)
    assert main(["data", "describe", "nothing"]) == 2


@pytest.mark.parametrize("name", ["jetnet30", "hls4ml", "atlas_toptag", "quark_gluon", "aspen"])
def test_an_array_of_another_name_is_named(files, name):
    source, *_ = files[name]
    config = data.get_config("events", preset=name, source=str(source))
    key = config.x_key.partition(",")[0].partition("[")[0]
    config.x_key = config.x_key.replace(key, f"{key}s")
    with pytest.raises(UserError, match=rf"no (dataset|array) '{key}s'; found .*{key}"):
        data.load(config)


def test_the_example_of_the_docs_reads(tmp_path):
    page = (ROOT / "docs" / "formats.md").read_text()
    (example,) = blocks(page, "toml")
    (tmp_path / "mine.toml").write_text(example)
    for seed, name in enumerate(("qcd_0", "top_0", "w_0")):
        pt, eta, phi = np.moveaxis(jets(seed), -1, 0)
        columns = {"cand_pt": 1000 * pt, "cand_eta": eta, "cand_phi": phi}
        write(tmp_path / f"{name}.h5", event=np.arange(2.0 * N).reshape(N, 2), **columns)
    mine = {"preset": str(tmp_path / "mine.toml"), "source": str(tmp_path)}
    dataset = data.load(data.get_config("events", **mine))
    assert set(dataset.signals) == {"top", "W"}
    np.testing.assert_array_equal(dataset.signals["top"]["weight"], 2 * np.arange(N))
    table = page.partition("| preset | files | |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.M)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == preset.names()
