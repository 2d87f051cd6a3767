"""What a search hands to others: files that other programs read; nothing observed while blind."""

import json

import h5py
import numpy as np
import pytest
from searches import EFFICIENCIES, made_up

from jaxad.commands.search import publish
from jaxad.commands.train import bench, fitter
from jaxad.configs import search as searches
from jaxad.data import get_config
from jaxad.errors import UserError
from jaxad.report import products
from jaxad.search import run
from jaxad.search.windows import windows_of
from jaxad.simulation import resonance

WINDOW = "3300-3700"
OBSERVED = {
    "n",
    "z_nominal",
    "p_nominal",
    "z_workspace",
    "p_local",
    "extrapolated",
    "observed",
    "spectra",
}


@pytest.fixture(scope="module")
def found():
    return made_up()


def q0(pyhf, space):
    """Root of pyhf's q0, in sigma."""
    workspace = pyhf.Workspace(space)  # checked against the schema
    model = workspace.model()
    start = (model.config.suggested_init(), model.config.suggested_bounds())
    fixed = model.config.suggested_fixed()
    data = workspace.data(model)
    return float(pyhf.infer.test_statistics.q0(0.0, data, model, *start, fixed)) ** 0.5


@pytest.mark.parametrize("closure", [4, 0])
@pytest.mark.parametrize("fit", [True, False])
def test_pyhf_finds_the_significance_of_every_workspace(closure, fit):
    pyhf = pytest.importorskip("pyhf")
    made, _ = made_up(closure=closure, fit=fit, n_toys=30)
    spaces = products.workspaces(made)
    assert set(spaces) == {f"{WINDOW}-{efficiency:g}" for efficiency in EFFICIENCIES}
    for efficiency in EFFICIENCIES:
        one = made["windows"][0]["cuts"][f"{efficiency:g}"]
        z = q0(pyhf, spaces[f"{WINDOW}-{efficiency:g}"])
        assert z == pytest.approx(one["z_workspace"], rel=1e-2)
        # Alone the window's own count has an exact law, which no Poisson workspace has.
        near = 1e-6 if closure or fit else 0.03
        assert one["z_workspace"] == pytest.approx(one["z_nominal"], rel=near)


def test_a_workspace_bounds_its_signal_and_names_its_errors():
    made, _ = made_up(fit=True, n_toys=30)
    one = made["windows"][0]["cuts"]["0.01"]
    space = products.workspaces(made)[f"{WINDOW}-0.01"]
    (channel,) = space["channels"]
    signal, background = channel["samples"]
    assert signal["data"] == [1.0] and background["data"] == [one["b"]]
    template, *scales = background["modifiers"]
    assert template["type"] == "shapesys"
    assert (background["data"][0] / template["data"][0]) ** 2 == pytest.approx(one["r"])
    for modifier, name in zip(scales, ("fit", "closure"), strict=True):
        high, low = modifier["data"]["hi"], modifier["data"]["lo"]
        assert modifier["name"] == name and modifier["type"] == "normsys"
        assert high == pytest.approx(1 + one["relative_errors"][name]) and low == 1 / high
    (measurement,) = space["measurements"]
    (mu,) = measurement["config"]["parameters"]
    assert measurement["name"] == "observed" and mu["bounds"] == [[0, 10 * one["n"]]]
    assert space["observations"][0]["data"] == [one["n"]]


def test_mu_counts_events_where_the_window_is_its_own_normalisation(found):
    one = found[0]["windows"][0]["cuts"]["0.1"]
    (channel,) = products.workspaces(found[0])[f"{WINDOW}-0.1"]["channels"]
    signal, background = channel["samples"]
    assert one["dispersion"] == 0.9
    assert signal["data"] == [1 / 0.9] and background["data"] == [one["b"] / 0.9]


def test_histograms_are_read_by_their_schema_and_by_root(found, tmp_path):
    drawn = json.loads(products.files(*found)["histograms.json"])
    spectrum = found[0]["windows"][0]["spectra"]["0.1"]
    name = f"spectrum/{WINDOW}/0.1"
    assert drawn[name]["storage"]["values"] == spectrum["counts"]
    (axis,) = drawn[name]["axes"]
    assert axis["edges"] == pytest.approx(np.array(spectrum["edges"]) / 1000)
    assert axis["metadata"]["label"] == "mjj [TeV]"
    assert sum(drawn[f"toys/{WINDOW}/0.01"]["storage"]["values"]) == 400
    assert f"spectrum/{WINDOW}/0.001" not in drawn  # where there is no fit
    pytest.importorskip("fastjsonschema")
    pytest.importorskip("uhi.schema").validate(drawn)
    serialization = pytest.importorskip("boost_histogram.serialization")
    read = {key: serialization.from_uhi(one) for key, one in drawn.items()}
    assert read[name].values().sum() == sum(spectrum["counts"])
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(tmp_path / "search.root") as file:
        for key, one in read.items():
            file[key] = one
    with uproot.open(tmp_path / "search.root") as file:
        assert file[name].classname == "TH1D"
        assert file[name].values().tolist() == spectrum["counts"]
        assert file[name].axis().edges() == pytest.approx(axis["edges"])


@pytest.mark.parametrize("shown", [True, False])
def test_tables_are_a_submission_to_hepdata(shown, tmp_path):
    files = products.files(*made_up(n_windows=2, shown=shown))
    tables = {name.removeprefix("hepdata/"): text for name, text in files.items() if "/" in name}
    tables = {name: json.loads(text) for name, text in tables.items() if name.endswith(".yaml")
              and name != "submission.yaml"}  # fmt: skip
    assert {"counts.yaml", "limits.yaml", f"closure_{WINDOW}.yaml"} < set(tables)
    assert ("p_values.yaml" in tables) is shown
    (mass,) = tables["counts.yaml"]["independent_variables"]
    assert mass["header"]["units"] == "TeV" and mass["values"][0] == {"low": 3.3, "high": 3.7}
    validator = pytest.importorskip("hepdata_validator.full_submission_validator")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text)
    checked = validator.FullSubmissionValidator(schema_version="1.1.1")
    assert checked.validate(directory=str(tmp_path / "hepdata")), checked.get_messages()


def test_what_has_no_number_is_a_dash_in_a_table():
    made, counts = made_up()
    made["windows"][0]["template"][1] = {"auc": None, "auc_err": None}
    closure = json.loads(products.files(made, counts)[f"hepdata/closure_{WINDOW}.yaml"])
    auc = closure["dependent_variables"][-1]["values"]
    assert auc[1] == {"value": "-"} and auc[0]["errors"][0]["symerror"] == 0.006


# Blinded


def test_no_file_depends_on_what_was_observed_while_blind():
    few, many = (made_up(shown=False, observed=n) for n in ((5, 0, 0), (231, 41, 13)))
    assert products.files(*few) == products.files(*many)
    assert json.dumps(few[0]) == json.dumps(many[0])
    for space in products.workspaces(few[0]).values():
        assert space["measurements"][0]["name"] == "asimov"
        background = space["channels"][0]["samples"][1]["data"]
        assert space["observations"][0]["data"] == background


def keys(entry):
    """All keys of nested dictionaries and lists."""
    if isinstance(entry, dict):
        return set(entry).union(*map(keys, entry.values()))
    return set().union(*map(keys, entry)) if isinstance(entry, list) else set()


def written(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Config, and the search of simulation whose background is known."""
    folder = tmp_path_factory.mktemp("searched")
    rng = np.random.default_rng(0)
    rows = [resonance.background(2500, rng), resonance.signal(40, rng)]
    x, m = (np.concatenate([one[key] for one in rows]) for key in ("x", "m"))
    columns = {f"x{i}": x[:, i] for i in range(4)}
    np.savez(folder / "table.npz", mjj=m, **columns)
    config = searches.get_config("smoke")
    config.data = get_config("events")
    config.data.update({"source": str(folder / "table.npz"), "mass": "mjj", "features": "x*"})
    config.data.mass_unit = "GeV"
    config.classifier.update({"name": "discriminant", "n_cosines": 20})
    section = {"windows": "3300-3700", "efficiencies": (0.1, 0.05), "spectrum": "exponential"}
    config.search.update(section)

    def draw(n, what, window):
        seed = np.random.default_rng([len(what), int(window.low)])
        return resonance.in_window(n, *window, seed)

    def draws(_config, _table, window, _bench):
        return run.Draws(lambda n, what: draw(n, what, window), [])

    def call(unblind):
        """Content and counts that were published."""
        published = []

        def write(*arguments):
            publish(config, *arguments)
            published.extend(arguments)

        working = bench(fitter(folder / "run"))
        run.search(*(config, folder / "run", working, 24, unblind), draws_of=draws, publish=write)
        return published

    return config, call


@pytest.mark.slow
def test_a_search_writes_nothing_observed_until_it_is_asked(searched):
    config, call = searched
    folder, *published = call(False)
    blind = written(folder)
    assert {"report.html", "summary.png", "histograms.json", "toys.h5"} < blind
    assert "scores.h5" not in blind and "hepdata/p_values.yaml" not in blind
    assert not any(name.startswith("figures/spectra") for name in blind)
    content = json.loads((folder / "search.json").read_text())
    assert not keys(content) & OBSERVED and content["global"] is None
    drawn = json.loads((folder / "histograms.json").read_text())
    assert all(name.startswith("toys/") for name in drawn)
    with h5py.File(folder / "toys.h5") as file:
        n_toys = len(file[WINDOW]["counts"]) - 1
    assert sum(drawn[f"toys/{WINDOW}/0.1"]["storage"]["values"]) == n_toys == 24

    call(True)
    assert blind < written(folder) and (folder / "hepdata" / "p_values.yaml").is_file()
    content = json.loads((folder / "search.json").read_text())
    assert keys(content) >= OBSERVED
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64") == len(list(folder.glob("figures/*.png"))) + 1

    publish(config, folder, *published)
    assert written(folder) - {"scores.h5"} == blind


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "summary.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"summary\.png: is there, .*search in another --workdir"):
        publish(searches.get_config(), tmp_path, *made_up(shown=False, closure=0, n_toys=0))
    assert written(tmp_path) == {"summary.png"}


@pytest.mark.parametrize("section", ["search", "data"])
def test_a_window_in_another_unit_is_told_where_the_masses_lie(section):
    config = searches.get_config("smoke")
    config.data = get_config("events", features="x", mass="mjj", mass_unit="GeV")
    if section == "search":
        config.search.windows = "3.3-3.7"
    else:
        config.data.window = "3300-3700"
    with pytest.raises(UserError, match="found 0 of masses from 2600 to 6268 GeV: windows are in"):
        windows_of(config, np.linspace(2600, 6268, 500), "GeV")
