"""Normalised autoencoder of jets: the hls4ml jets as the example.

    train.py --config=configs/normalised.py --config.data.source=jets.h5 --workdir=runs/normalised

On shapes and EFPs as it is; on images of 20 x 20 pixels with

    ... --config.inputs.name=jet_image --config.inputs.smear=1 --config.inputs.power=.5

and in its Wasserstein form with --config.method.normalisation=wasserstein. docs/normalised.md says
what works and what does not. The report has the score of the first phase beside that of the second,
and says where the second has not converged.
"""

from ml_collections import ConfigDict

from jaxad import inputs, training
from jaxad.configs import hls4ml_ae
from jaxad.methods.stages import langevin


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    steps = {"latent_steps": 2, "input_steps": 2, "buffer": 512} if smoke else {}
    return ConfigDict(
        {
            "seed": 0,
            "data": hls4ml_ae.get_config(variant).data,
            "inputs": inputs.get_config(
                "jet_features", unskew=True, efp_degree=4, n_pixels=20, half_width=0.4
            ),
            "method": {
                "name": "normalised_autoencoder",
                "normalisation": "langevin",  # langevin | wasserstein
                "energy_scale": "pretrained",  # pretrained | none
                "temperature": 1.0,  # of the chains, in units of the energy
                "gamma": 0.5,  # langevin: of the squared energy of samples
                "l2": 0.0,  # langevin: of squared weights
                "transport": "sliced",  # wasserstein: sliced | sinkhorn
                "projections": 64,  # lines of the sliced distance
            },
            "model": {"name": "dense", "n_latent": 3, "widths": (64, 32)},
            "chains": langevin.get_config(**steps),
            "train": training.get_config(
                epochs=2 if smoke else 40, batch_size=256, learning_rate=1e-3, clip=0.1
            ),
            "normalise_train": training.get_config(
                epochs=2 if smoke else 10, batch_size=256, learning_rate=3e-4, monitor="guarded"
            ),
            "baselines": ("pca_16", "mean_image", "observables"),
        }
    )
