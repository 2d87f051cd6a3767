"""Settings of the reader `events`: defaults, those that change nothing, those that cannot be."""

from ml_collections import ConfigDict

from jaxad.data import assembled, event_weights, named
from jaxad.data.assembled import UNITS
from jaxad.data.coordinates import COORDINATES
from jaxad.data.dataset import as_mapping
from jaxad.data.layout import FORMATS, PARTICLES
from jaxad.errors import UserError

DEFAULTS = {
    "format": "ptetaphi",
    "features": "",  # "mj1,mj2,tau*": columns of a table, in this order
    "mass": "",  # of a table: the column of the mass, in the unit of mass_unit
    "mass_unit": "GeV",  # GeV, TeV or MeV
    "weight": "",  # of a table, as are the next three: the column of the weights
    "label": "",  # the column of the truth
    "id": "",  # "run,event": columns of whole numbers that say which event it is
    "missing": "",  # "tau21:-999": values that stand for none
    "preset": "",  # of `jaxad data list`, or FILE.toml: filled in before any reading
    "x_key": "x",  # an array, or columns, of one "X[2],X[0],X[1]" or of several "pt,eta,phi"
    "mask_key": "",  # (N, n) of 0 and 1: where there is a particle; "": where x is not 0
    "coordinates": "",  # ptetaphim, ...: what files hold where it is not `format`, epxpypz
    "objects": "",  # FatJet: each object of this collection is a row; "": each event
    "links": "",  # "FatJetPFCands_jetIdx,FatJetPFCands_pFCandsIdx": which particle is of which
    "n_particles": 0,  # slots: the hardest are kept; 0: as many as the longest event of the files
    "max_cut": 0.01,  # of events, that may have more particles than slots
    "axis_key": "",  # (N, 2): eta and phi of the jet, which are added to those of particles
    "jet_pt_key": "",  # (N,): what the relative pT of particles are multiplied with
    "particle_weight_key": "",  # (N, n): what momenta of particles are multiplied with
    "log_pt": False,  # the files hold the natural logarithm of pT
    "sort_pt": False,  # particles by falling pT, where the files have another order
    "label_key": "",  # "": the whole source is background; several columns: one-hot
    "label_file": "",  # a text file with the label of each event, a line each
    "label_names": "",  # "QCD,top": of labels that are texts, in the order of their numbers
    "mass_key": "",  # of features: the resonant mass, in the units of `units`
    "weight_key": "",
    "selection": "",  # "FatJet_pt[0] > 300 & nMuon == 2": see `jaxad.data.expression`
    "negative_weights": "",  # where methods learn: absolute | drop | clip_zero; "": refused
    "id_key": "",
    "background": "0",  # labels: "0,1"
    "signals": "",  # "t=4,W=2": labels; "t=FILE": a file or glob of its own
    "observables": "",  # "mass=jet_mass,...": field = key in the files, (N,)
    "units": "GeV",  # of momenta, mass and pt in the files; or MeV
    "split": "random",  # id; or "train=A*.h5,val=B*.h5,test=C*.h5": files, or values of split_key
    "split_key": "",  # the column that says which part an event is of
    "n_events": 0,  # at most so many random events of each class; 0: all
    "val_fraction": 0.16,
    "test_fraction": 0.2,
    "supervised": False,  # also hold out events of all classes that supervised methods train on
    "supervised_fraction": 0.5,  # of the test events and the signals
    "window": "",  # LOW-HIGH [TeV]: the signal region of a search in the mass; "": none
    "inject": 0,  # signal events in the data of a search
    "on_disk": False,  # x lies in files of the cache folder, not in memory
}
WHOLE = {"n_events": 0, "supervised": False, "split": "random", "split_key": "", "max_cut": 1.0}
"""Settings where no event is set apart or left out."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are, and why."""
    found = {}
    if config.features:
        for name in ("label", "mass", "weight", "id"):
            found[f"{name}_key"] = f"beside data.features it is data.{name}: set that"
        why = "data.features names columns"
        found["on_disk"] = why
        found["label_file"] = f"{why}: set data.label to that of the truth"
        if not named.maybe_particles(config):
            found |= dict.fromkeys(("x_key", "units", "observables", *assembled.BESIDE), why)
            found |= {} if config.format == "features" else {"format": why}
        if not config.mass:
            found["mass_unit"] = "data.mass is not set: set it"
    else:
        found |= dict.fromkeys(named.SETTINGS, "no columns are named: set data.features")
        if config.format == "image" or (config.format == "features" and not _in_units(config)):
            found["units"] = f"nothing of data.format={config.format} has a unit: leave it out"
        if config.format not in PARTICLES:
            why = f"data.format={config.format}: no particles"
            found |= dict.fromkeys((*assembled.BESIDE, "n_particles", "max_cut"), why)
    if not config.objects:
        found["links"] = "data.objects is not set: set it"
    if config.n_particles == 0 and "*" not in config.x_key:
        found["max_cut"] = "no particle is left out: set data.n_particles"
    if config.format == "epxpypz" and not config.coordinates.startswith("pt"):
        why = "data.format=epxpypz holds momenta, not pT: leave it out"
        found |= dict.fromkeys(("jet_pt_key", "log_pt", "axis_key"), why)
    if not (config.weight if config.features else config.weight_key):
        key = "data.weight" if config.features else "data.weight_key"
        found["negative_weights"] = f"no weights are named: set {key}"
    if not (config.label if config.features else config.label_key or config.label_file):
        key = "data.label" if config.features else "data.label_key"
        found["background"] = f"without {key} the whole source is background: set it"
    if config.window:
        why = "the parts of a search are 1/2, 1/6 and 1/3 of the events: leave it out"
        found |= dict.fromkeys(("val_fraction", "test_fraction"), why)
        found |= dict.fromkeys(("split", "split_key"), why)
    elif config.split in ("random", "id"):
        found["split_key"] = f"data.split={config.split} reads no column: name values in data.split"
    if config.split not in ("random", "id"):
        unused = (
            ("test_fraction",) if "val=" not in config.split else ("val_fraction", "test_fraction")
        )
        found |= dict.fromkeys(unused, "data.split says which events are tested: leave it out")
    if config.label_key and config.label_file:
        found["label_key"] = "data.label_file holds the labels: leave out one of them"
    if not config.label_key:
        found["label_names"] = "data.label_key is not set: set it"
    if not config.supervised:
        found["supervised_fraction"] = "data.supervised is False: set it to True"
    return found


def _in_units(config: ConfigDict) -> bool:
    """Whether features have a mass, or observables that `units` scales."""
    fields = as_mapping(config.observables, "data.observables")
    return bool(config.mass_key) or bool({"mass", "pt"} & set(fields))


def require_settings(config: ConfigDict) -> None:
    """Refuses values, and pairs of settings, that cannot be."""
    if config.source in ("simulation", "download", ""):
        raise UserError(
            f"data.source={config.source!r}: data.name=events reads your own files: "
            "set data.source to a file or glob"
        )
    if config.format not in FORMATS:
        raise UserError(
            f"data.format: expected one of {', '.join(FORMATS)}, found {config.format!r}"
        )
    if config.units not in UNITS:
        raise UserError(f"data.units: expected {' or '.join(UNITS)}, found {config.units!r}")
    if config.coordinates and config.coordinates not in COORDINATES:
        raise UserError(
            f"data.coordinates: expected one of {', '.join(COORDINATES)}, or nothing, found "
            f"{config.coordinates!r}"
        )
    if config.coordinates and config.format != "epxpypz":
        raise UserError(
            f"data.coordinates={config.coordinates}: makes (E, px, py, pz), found "
            f"data.format={config.format}: set data.format=epxpypz"
        )
    if config.mass_key and config.format != "features" and not config.features:
        raise UserError(
            f"data.mass_key: a mass stands beside features, found data.format={config.format}; "
            "of particles the invariant mass is computed"
        )
    event_weights.require_choice(config.negative_weights)
    if config.supervised and not config.signals:
        raise UserError("data.supervised: needs classes to tell apart: name some in data.signals")
    if config.inject and not config.window:
        raise UserError("data.inject: events are injected into a search: set data.window")
    if config.window and config.supervised:
        raise UserError("data.supervised: is not for a search: leave out data.window")
    if config.val_fraction + config.test_fraction >= 1:
        raise UserError(
            "data.val_fraction, data.test_fraction: expected positive numbers that leave some "
            f"events to train, found {config.val_fraction} and {config.test_fraction}"
        )


def observable_keys(config: ConfigDict) -> dict[str, str]:
    """Field -> key in the files, of `data.observables`."""
    keys = as_mapping(config.observables, "data.observables")
    own = {"x", "label", "weight", "event", *(["mass"] if config.mass_key else [])}
    if config.window and config.format in PARTICLES and "mass" in keys:
        raise UserError(
            "data.observables: mass: of particles a search takes the invariant mass: leave it out"
        )
    if taken := own & set(keys):
        raise UserError(f"data.observables: {taken.pop()!r} has a setting of its own, *_key")
    return keys


def keys_of(config: ConfigDict) -> dict[str, str]:
    """Field of the rows -> key in the files, of all arrays but the label."""
    own = {"mass": config.mass_key, "weight": config.weight_key, "event": config.id_key}
    own = {field: key for field, key in own.items() if key}
    return {"x": config.x_key, **own, **observable_keys(config)}
