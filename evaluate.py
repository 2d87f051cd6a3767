"""Evaluate a run of train.py; the same as `jaxad evaluate`.

evaluate.py --workdir=runs/toptagging
"""

import sys

from jaxad.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
