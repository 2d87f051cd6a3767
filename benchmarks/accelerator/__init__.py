"""Everything that a borrowed accelerator can tell about jaxad, in one command of minutes.

    python -m benchmarks.accelerator --out runs/accelerator

See docs/accelerators.md. `__main__.py` runs the sections, each a file of this folder, in processes
of their own; `report.py` keeps what they say.
"""
