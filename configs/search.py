"""A search for a resonance in one's own data, without labels (docs/search.md).

    jaxad search --config=search --workdir=runs/mine --config.data.name=events \\
      --config.data.source=table.csv --config.data.mass=mjj --config.data.features=x1,x2 \\
      --config.search.windows=3300-3700

The template is CATHODE's (arXiv:2109.00546); events are scored out of fold, and p-values come from
pseudo-experiments. The default data are simulated dijets with a signal injected.
"""

from ml_collections import ConfigDict

from jaxad import search
from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The search; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    del config.method.closure_windows  # section `search` has its own
    smoke = variant == "smoke"
    config.classifier.update({"name": "auto", "members": 1, "folds": 5, "n_cosines": 100})
    config.train.update(
        {
            "epochs": 2 if smoke else 20,
            "batch_size": 512,
            "learning_rate": 2e-3,
            "early_stop_patience": 0,
            "keep_best": 1 if smoke else 5,
        }
    )
    config.search = search.get_config(**({"closure_windows": 2} if smoke else {}))
    return config
