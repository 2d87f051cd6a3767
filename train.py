"""Train a jaxad config in a work directory; the same as `jaxad train`.

train.py --config=configs/toptagging_ae.py --workdir=runs/toptagging
"""

import sys

from jaxad.commands.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
