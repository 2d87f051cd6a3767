"""Anomaly scores inside a coffea processor: python coffea_scores.py RUN EVENTS.parquet

A scorer is a function of arrays, so `process` is the method of a `coffea.processor.ProcessorABC`
or a plain callable for dask-awkward. RUN takes particles, momenta in the unit of its training.
"""

import sys

import awkward as ak

import jaxad

COLUMNS = {"ptetaphi": ("pt", "eta", "phi"), "epxpypz": ("E", "px", "py", "pz")}


class AnomalyScores:
    """Scores of the objects of each event, and which events are above threshold."""

    def __init__(self, run: str, fpr: float, collection: str = "Jet"):
        self.scorer, self.collection = jaxad.load(run), collection
        self.threshold = self.scorer.threshold(fpr)["threshold"]

    def process(self, events: ak.Array) -> ak.Array:
        """The events with a field "anomaly"; what the scorer takes is padded by itself."""
        objects = events[self.collection]
        columns = ak.zip(
            {name: getattr(objects, name) for name in COLUMNS[self.scorer.layout.format]}
        )
        return ak.with_field(events, self.scorer(columns), "anomaly")


if __name__ == "__main__":
    processor = AnomalyScores(sys.argv[1], fpr=0.02)
    found = processor.process(ak.from_parquet(sys.argv[2]))
    print(f"{ak.sum(found.anomaly >= processor.threshold)} of {len(found)} events kept")
