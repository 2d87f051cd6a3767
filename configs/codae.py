"""CoDAE on event images: train on QCD, flag soft bombs (SUEP) and semi-visible jets (SVJ).

    train.py --config=configs/codae.py --config.data.source=FOLDER --workdir=runs/codae

Anzalone et al. (arXiv:2306.12955). FOLDER holds train and test. With
--config.model.weights=FILE.npz the published arrays take the place of the training.
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    sizes = {"n_events": 64, "n_simulated": 200} if smoke else {}
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config("codae", **sizes),
            "inputs": inputs.get_config("image", pixels="mask"),
            "method": {
                "name": "codae",
                "augment": True,
                "decorrelation": 0.0,  # weight of the distance correlation with the hits
                "beta": 0.03125,  # of the KL, CoDVAE
                "samples": 2 if smoke else 10,  # of the KL, CoDVAE
                "monte_carlo": False,  # score the mean over samples, CoDVAE
            },
            "model": {
                "name": "codae",
                "features": (4, 8) if smoke else (64, 128, 128, 256),
                "latent": 8 if smoke else 64,
                "groups": 2 if smoke else 4,
                "mask_groups": 2,
                "periodic": False,  # encoders wrap around phi
                "dtype": "float32",  # of activations: float32 | bfloat16
                "weights": "",  # published arrays instead of training
            },
            "train": training.get_config(
                epochs=2 if smoke else 30,
                batch_size=32 if smoke else 128,
                optimizer="adamw",
                learning_rate=1e-3,
                weight_decay=0.1,  # times the rate: the original's 1e-4
                eps=1e-7,
                clip_per_tensor=1.0,
                monitor="ssim",
                maximize=True,
            ),
            "baselines": ("pca_16", "observables"),
        }
    )
