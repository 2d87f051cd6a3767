"""The exercise's autoencoder on ADC2021 trigger events: train on the Standard Model, flag the rest.

    train.py --config=configs/adc2021_ae.py --workdir=runs/adc2021_ae

57-8-57, raw GeV, ReLU output, mean squared error, Adam, batch 1024, 10 epochs: the reference, kept
as it is. Its output cannot be negative, as eta and phi can. The other adc2021 configs start here.
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config("adc2021", n_simulated=100 if smoke else 6_000),
            "inputs": inputs.get_config("trigger_event"),
            "method": {
                "name": "trigger_autoencoder",
                "loss": "plain",  # plain | masked | masked_per_object
                "beta": 0.0,  # weight of the KL, variational models
            },
            "model": {"name": "exercise"},  # challenge, dense_ae, dense_vae, conv_ae, conv_vae
            "train": training.get_config(epochs=2 if smoke else 10, batch_size=1024),
            "baselines": ("observables",),
            "trigger": {
                "input_rate": 40e6,  # [Hz]
                "rates": (400.0, 5e3, 400e3),  # [Hz]
                "observables": ("leading_pt", "ht", "met", "multiplicity"),  # to follow: DecADe
                "fpr": 1e-2,  # of the thresholds that follow them
            },
        }
    )
