"""One verb a file: what `jaxad VERB` does."""

import os
import sys

# MPLBACKEND, inherited from a notebook, say, may name what is not installed here: Matplotlib would
# not even be imported. It is dropped then: figures of jaxad are drawn with Agg whatever it says.
if "MPLBACKEND" in os.environ and "matplotlib" not in sys.modules:
    backend = os.environ.pop("MPLBACKEND")
    import matplotlib

    try:
        matplotlib.rcParams["backend"] = backend
        os.environ["MPLBACKEND"] = backend
    except ValueError:
        pass
