"""A VAE's encoder, 57-32-16-8, trained in float and then with weights of a few bits.

Other networks of linear layers, convolutions and ReLUs likewise, see docs/trigger.md.

    train.py --config=configs/adc2021_quantized.py --workdir=runs/adc2021/quantized

trains the float network first; with --config.method.teacher=RUN it starts from a run of it. Inputs
are the integers of a Global Trigger. Six bits are the default; learnt widths:

    --config.method.learned=True --config.method.granularity=weight

The challenge's autoencoder, 57-16-3-16-57, and its error, of finer results:

    --config.method.score=mse --config.teacher.model.name=challenge --config.method.code_bits=12

A small convolutional VAE:

    --config.teacher.model.name=conv_vae --config.method.granularity=channel

From features of CMS's layout, whose run comes first:

    train.py --config=configs/adc2021_features.py --workdir=RUN --config.inputs.name=trigger_integer
    train.py --config=configs/adc2021_quantized.py --workdir=runs/adc2021/quantized_features
        --config.method.score=distance --config.method.teacher=RUN
        --config.method.granularity=channel --config.method.code_bits=12
"""

from ml_collections import ConfigDict

from jaxad import inputs, training
from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_ae.get_config(variant)
    config.inputs = inputs.get_config("trigger_integer")
    config.teacher = ConfigDict(
        {
            "method": {"name": "trigger_autoencoder", "loss": "plain", "beta": 0.01},
            "model": {"name": "encoder"},
            "train": training.get_config(
                epochs=2 if smoke else 100, batch_size=256, early_stop_patience=20
            ),
        }
    )
    config.method = ConfigDict(
        {
            "name": "quantized",
            "teacher": "",  # work directory of a trained float network; "": trained here
            # mu2, of an encoder | mse, of an autoencoder | distance, student, flow_norm, of a run
            # of feature_autoencoder, student, flow_norm as teacher
            "score": "mu2",
            "target": "codes",  # codes | loss (that of the float network) | none (rounding alone)
            "input_type": config.inputs.get_ref("type"),
            # One number, or in a config file one for each layer; learnt widths start there.
            "weight_bits": 6,  # the sign among them
            "activation_bits": 10,  # as AXOL1TL
            "code_bits": 10,  # of results without a ReLU, the sign among them
            "rounding": "RND_CONV",  # RND_CONV | RND, of activations and codes
            "granularity": "layer",  # layer | channel | weight: what shares a width
            "learned": False,
            "beta": 3e-6,  # learnt widths: weight of EBOPs in the loss at the end
            "beta_start": 1e-7,  # and at the start
            "gamma": 0.0,  # and of the sum of all widths
        }
    )
    config.model = ConfigDict()
    config.train = training.get_config(
        epochs=2 if smoke else 200, batch_size=256, schedule="cosine"
    )
    return config
