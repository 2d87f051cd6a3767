"""CICADA on calorimeter regions of zero bias: an autoencoder, and integers that follow it.

    train.py --config=configs/cicada.py --workdir=runs/cicada/student

trains the teacher first; with --config.method.teacher=RUN it learns from a run of cicada_teacher.
"""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import cicada_teacher

TEACHER = ("method", "model", "train")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = cicada_teacher.get_config(variant)
    config.teacher = {key: config[key].copy_and_resolve_references() for key in TEACHER}
    config.method = ConfigDict(
        {
            "name": "cicada",
            "teacher": "",  # work directory of a trained autoencoder; "": trained here
            "outliers": 0.2,  # artificial events for each one of background; 0: no exposure
            "augment": True,  # copies of events, turned in phi and mirrored in eta
            # Share of background at which the rate is the teacher's; 0: left as it is.
            "same_rate": 0.0 if smoke else 1e-2,
        }
    )
    config.model = ConfigDict()
    config.train = training.get_config(
        epochs=2 if smoke else 100,
        batch_size=32 if smoke else 512,
        learning_rate=1e-2,
        schedule="cosine",
    )
    return config
