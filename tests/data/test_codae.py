"""Event images of dark showers: published files, index maps, upstream cells, augmentation."""

from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import inputs
from jaxad.data import get_config, load
from jaxad.data.codae import LAYOUT, mass_in_name, masses_of, read_file
from jaxad.data.dataset import content_digest
from jaxad.data.image_sums import hits_line
from jaxad.errors import UserError
from jaxad.inputs.images import augment


def write(path: Path, label=0, index=0, n=10, channels=3, **change):
    rng = np.random.default_rng(n + label * 100 + index)
    images = (rng.random((n, 72, 58, channels)) < 0.05).astype(np.float32) * 5
    arrays = {
        "images": images,
        "labels": np.full(n, label, np.float32),
        "masses": np.full(n, index, np.float32),
    }
    if channels == 3:
        arrays["n_tracks"] = np.arange(n, dtype=np.float32)[:, None]
    arrays |= change
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train" / "qcd_gensim_1.npz", n=40)
    write(tmp_path / "test" / "qcd_gensim_2.npz", n=20)
    write(tmp_path / "test" / "suep_gensim_h200_a.npz", 1, 2, n=12)
    write(tmp_path / "test" / "svj_3100_a.npz", 2, 6, n=14)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qcd_gensim_104_8.npz", (0, None)),
        ("suep_gensim_h125_phi2_dp0p7_dt2_101_2.npz", (1, 125.0)),
        ("svj_4100_127785_8.npz", (2, 4100.0)),
        ("suep_gensim.npz", (1, None)),
    ],
)
def test_mass_in_name(name, expected):
    assert mass_in_name(Path(name)) == expected


def test_both_index_maps():
    def mass(index, path):
        return masses_of(np.array([1.0]), np.array([index]), Path(path))[0]

    assert mass(2, "test/suep_gensim_h200_x.npz") == 200
    assert mass(2, "supervised_train/suep_gensim_h400_x.npz") == 400
    assert mass(4, "valid/suep_gensim_h1000_x.npz") == 1000
    assert mass(2, "test/mine.npz") == 200
    assert mass(2, "supervised_train/mine.npz") == 400
    with pytest.raises(UserError, match="300 GeV"):
        mass(2, "test/suep_gensim_h300_x.npz")
    with pytest.raises(UserError, match="index map"):
        mass(9, "test/mine.npz")


def test_load(folder):
    config = get_config("codae", source=str(folder))
    data = load(config)
    assert set(data.signals) == {"SUEP_200", "SVJ_3100"}
    assert (len(data.train["x"]), len(data.val["x"]), len(data.test["x"])) == (36, 4, 20)
    rows = data.signals["SVJ_3100"]
    assert (rows["signal_mass"] == 3100).all() and (rows["label"] == 2).all()
    np.testing.assert_array_equal(rows["hits"], (rows["x"][..., 0] > 0).sum((1, 2)))
    np.testing.assert_allclose(rows["sum_pt"], rows["x"][..., 0].sum((1, 2)), rtol=1e-6)
    shares = rows["x"][..., 0] / rows["sum_pt"][:, None, None]
    np.testing.assert_allclose(rows["spread"], 1 - (shares**2).sum((1, 2)), rtol=1e-5)
    again = load(config)
    np.testing.assert_array_equal(data.train["x"], again.train["x"])
    few = load(get_config("codae", source=str(folder), n_events=10))
    assert [len(rows["x"]) for rows in (*few.signals.values(), few.test)] == [10, 10, 10]


def test_hits_at_energy_is_what_a_line_through_the_training_background_leaves(folder):
    data = load(get_config("codae", source=str(folder)))
    x, y = (np.log(data.train[name].astype(np.float64)) for name in ("sum_energy", "hits"))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    for rows in (data.train, data.test, *data.signals.values()):
        line = y.mean() + slope * (np.log(rows["sum_energy"]) - x.mean())
        np.testing.assert_allclose(rows["hits_at_energy"], np.log(rows["hits"]) - line, atol=1e-4)
    assert data.baselines[-2:] == ("spread", "hits_at_energy")


def test_images_of_bools(tmp_path):
    path = write(tmp_path / "qcd_1.npz")
    hits = read_file(path)["x"] > 0
    bools, floats = (
        read_file(write(tmp_path / "qcd_2.npz", images=x)) for x in (hits, hits.astype("f4"))
    )
    for name, values in floats.items():
        np.testing.assert_array_equal(bools[name], values)


def test_images_on_disk_are_the_same(folder):
    settings = {"source": str(folder), "n_events": 13, "cache": str(folder / "cache")}
    in_memory, stored = (load(get_config("codae", on_disk=d, **settings)) for d in (False, True))
    assert content_digest(in_memory) == content_digest(stored)
    assert all(isinstance(rows["x"], np.memmap) for _, rows in stored.parts())
    stage = inputs.stage(inputs.get_config("image", pixels="mask"), LAYOUT, ("image",), "codae")
    made = inputs.prepared(stage, {"train": stored.train["x"]})[1]["train"]
    assert isinstance(made, np.memmap) and made.dtype == np.uint8


def test_supervised_parts_are_held_out_of_the_test(folder):
    data = load(get_config("codae", source=str(folder), supervised=True))
    parts = [data.extra["supervised_train"], data.extra["supervised_val"]]
    assert all(part["x"].shape[1:] == (72, 58, 1) for part in parts)
    seen = {image.tobytes() for part in parts for image in part["x"]}
    tested = [data.test, *data.signals.values()]
    kept = {x.sum(-1, keepdims=True).tobytes() for rows in tested for x in rows["x"]}
    assert len(seen) + len(kept) == 46 and not seen & kept


def test_published_supervised_parts(folder):
    for part in ("supervised_train", "supervised_valid"):
        write(folder / part / "suep_gensim_h400_b.npz", 1, 2, n=6, channels=1)
    data = load(get_config("codae", source=str(folder), supervised=True))
    assert (data.extra["supervised_train"]["signal_mass"] == 400).all()
    assert len(data.test["x"]) == 20


def test_upstream_cells(folder):
    rng = np.random.default_rng(0)
    cells = (rng.random((3, 3, 286, 360)) < 0.01).astype(np.float32)
    path = folder / "test" / "suep_gensim_h700_c.h5"
    with h5py.File(path, "w") as file:
        for name, values in zip(
            ("ImageTrk_PUcorr", "ImageECAL", "ImageHCAL"), cells.swapaxes(0, 1), strict=True
        ):
            file[name] = values
        file["NTrk_PUcorr"] = np.array([[3.0], [4.0], [5.0]])
    rows = read_file(path)
    # Pixel (phi 2, eta 1) sums cells phi 10..14 and eta 3..7: two columns of padding come first.
    np.testing.assert_allclose(rows["x"][:, 2, 1, 1], cells[:, 1, 3:8, 10:15].sum((1, 2)))
    np.testing.assert_allclose(rows["x"].sum((1, 2)), cells.sum((2, 3)))
    np.testing.assert_array_equal(rows["n_tracks"], [3, 4, 5])
    assert load(get_config("codae", source=str(folder))).signals["SUEP_700"]["x"].shape[0] == 3


def test_mistakes_are_named(folder, tmp_path):
    def message(**change):
        path = write(tmp_path / "bad" / "suep_gensim_h200_z.npz", 1, 2, **change)
        with pytest.raises(UserError) as caught:
            read_file(path)
        assert path.name in str(caught.value)
        return str(caught.value)

    assert "labels" in message(labels=None)
    assert "(N, 72, 58, 3)" in message(images=np.zeros((10, 70, 58, 3), np.float32))
    assert "10 values" in message(masses=np.zeros(4))
    assert "row 0" in message(images=np.full((10, 72, 58, 3), np.nan, np.float32))
    odd = np.repeat([1.0, 0.5, 3.0], (5, 3, 2))
    assert "expected 0 or 1 or 2, found 0.5 (3 events, first at row 5), 3 (2" in message(labels=odd)
    assert "masses: expected whole numbers, found 2.5 (10" in message(masses=np.full(10, 2.5))
    assert "a pixel below 0" in message(images=np.full((10, 72, 58, 3), -1, np.float32))
    path = tmp_path / "bad" / "suep_gensim_h200_z.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        read_file(path)
    with pytest.raises(UserError, match="found no test"):
        write(tmp_path / "half" / "train" / "qcd.npz")
        load(get_config("codae", source=str(tmp_path / "half")))
    with pytest.raises(UserError, match="QCD only"):
        write(folder / "train" / "svj_2100_q.npz", 2, 5)
        load(get_config("codae", source=str(folder)))


def test_augmentation_gives_the_six_choices():
    image = np.zeros((72, 58, 1), np.uint8)
    image[3, 5] = 1
    n = 6000
    found = np.asarray(augment(jnp.asarray(np.repeat(image[None], n, 0)), jax.random.key(0)))
    assert found.dtype == np.uint8 and (found.sum((1, 2, 3)) == 1).all()
    rows, columns = np.nonzero(found[..., 0].reshape(n, -1))[1].__divmod__(58)
    flipped, shift = columns == 57 - 5, (rows - 3) % 72
    assert set(columns) == {5, 52} and set(shift) == set(range(0, 72, 8))
    np.testing.assert_allclose(np.mean(flipped), 1 / 2, atol=0.03)
    still = shift == 0
    np.testing.assert_allclose(np.mean(still & ~flipped), 1 / 6, atol=0.02)
    np.testing.assert_allclose(np.mean(still & flipped), 1 / 6, atol=0.02)
    # Rolls by +a and by -a of 72 meet at the same place for a and 72 - a; 8 and 64 differ.
    np.testing.assert_allclose(np.mean(shift == 8), 4 / 6 / 14, atol=0.02)
    np.testing.assert_allclose(np.mean(shift == 16), 4 / 6 / 7, atol=0.02)


def test_real_sample(shared_data):
    data = load(get_config("codae", source=str(shared_data / "codae"), supervised=True))
    assert len(data.train["x"]) + len(data.val["x"]) == 1002
    assert len(data.test["x"]) == 337 and len(data.signals) == 9
    assert len(data.extra["supervised_train"]["x"]) == 1066
    assert set(np.unique(data.extra["supervised_val"]["signal_mass"])) >= {0, 400, 1000, 4100}


def test_images_of_no_energy_have_a_flat_line():
    rows = {"hits": np.float32([3, 5, 7]), "sum_energy": np.float32([0.1, 0.2, 0.5])}
    slope, constant = hits_line(rows)
    assert slope == 0 and constant == pytest.approx(np.log([3, 5, 7]).mean())
