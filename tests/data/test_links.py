"""Links of jets and candidates: read once for all numbers of a candidate."""

from collections import Counter

import numpy as np

from jaxad.data.beside import Beside
from jaxad.data.links import Objects, Opened
from jaxad.data.lists import Column, Lists, Stored
from jaxad.data.places import places_of

N, BLOCK = 60, 7


def branches(rng):
    """Branch -> lists of each event: jets, candidates, and links, some to nothing."""
    found = {name: [] for name in ("Jet_pt", "PF_pt", "PF_eta", "PF_phi", "L_jet", "L_pf")}
    for _ in range(N):
        jets, candidates = rng.integers(0, 4), rng.integers(0, 9)
        found["Jet_pt"].append(rng.random(jets))
        for name in ("PF_pt", "PF_eta", "PF_phi"):
            found[name].append(rng.random(candidates))
        links = rng.integers(0, 6) if jets and candidates else 0
        found["L_jet"].append(rng.integers(-1, max(jets, 1), links))
        found["L_pf"].append(rng.integers(-1, max(candidates, 1), links))
    return found


def by_hand(found, name):
    """Rows of jets with the numbers of their candidates, zero-padded to 6."""
    jets = []
    for i in range(N):
        for jet in range(len(found["Jet_pt"][i])):
            links = zip(found["L_jet"][i], found["L_pf"][i], strict=True)
            own = [found[name][i][pf] for of, pf in links if of == jet and pf >= 0]
            jets.append([*own, *[0] * (6 - len(own))])
    return np.array(jets)


def test_links_are_read_once_for_all_numbers_of_a_candidate(tmp_path):
    found, reads, file = branches(np.random.default_rng(0)), Counter(), tmp_path / "jets"
    file.touch()

    def read(name):
        def blocks(row):
            for start in range(row - row % BLOCK, N, BLOCK):
                reads[name] += 1
                part = found[name][start : start + BLOCK]
                yield start, Lists(np.array([*map(len, part)]), np.concatenate(part))

        return Column(Stored(str(file), name, N, blocks))

    jets = Opened(Objects("Jet", "L_jet,L_pf"), read, str(file))
    names = ("PF_pt", "PF_eta", "PF_phi")
    x = Beside({n: jets.seen(n) for n in names}, places_of(",".join(names)), file, "data.x_key")
    rows = len(by_hand(found, "PF_pt"))
    values = np.concatenate([x[i : i + 5] for i in range(0, rows, 5)])
    for column, name in enumerate(names):
        expected = by_hand(found, name)[:, : values.shape[1]]
        np.testing.assert_array_equal(values[..., column], expected)
    n_blocks = -(-N // BLOCK)
    # Of the links once for their number and once for what they say; of candidates once.
    assert reads["L_jet"] <= 2 * n_blocks + 2 and reads["PF_eta"] <= n_blocks + 1
