"""References for jets on somebody's labelled jets: AUC of each over several splits, one table.

    python benchmarks/jet_references.py jets_hls4ml_20k.h5 --seeds=5

Every row is fitted on the training part of the background of a split, as configs/jets_best.py reads
the file, and measured on its test part and on the signals. Prints a table in Markdown: mean and
standard deviation over the splits.
"""

from collections import defaultdict

from jet_aucs import aucs_of, markdown, observable_aucs, of_split, parser_of
from tqdm import tqdm

from jaxad import data, methods
from jaxad.configs import jets_best
from jaxad.scorer import Scorer

# Name in the table: (method, its score, changes of the config).
PLAIN = {"inputs.unskew": False}
EFPS = {"inputs.efp_degree": 4}
IMAGE = {"inputs.name": "jet_image"}
SMOOTHED = {"inputs.smear": 1.0}
ROOT = {"inputs.power": 0.5}
FITTED = {
    "mean image": ("mean_image", "mse", {}),
    "mean image, smoothed": ("mean_image", "mse", SMOOTHED),
    "mean image, root": ("mean_image", "mse", ROOT),
    "mean image, smoothed, root": ("mean_image", "mse", SMOOTHED | ROOT),
    "PCA, 2 components": ("pca", "mse", IMAGE | {"pca.components": 2}),
    "PCA, 16 components": ("pca_16", "mse", {}),
    "PCA, 16 components, smoothed": ("pca_16", "mse", SMOOTHED),
    "PCA, 16 components, root": ("pca_16", "mse", ROOT),
    "PCA, 16 components, smoothed, root": ("pca_16", "mse", SMOOTHED | ROOT),
    "k-NN 5": ("nearest_neighbours", "distance", PLAIN | {"method.n_neighbours": 5}),
    "k-NN 50": ("nearest_neighbours", "distance", PLAIN),
    "k-NN 50, unskewed": ("nearest_neighbours", "distance", {}),
    "Mahalanobis": ("mahalanobis", "distance", PLAIN),
    "Mahalanobis, unskewed": ("mahalanobis", "distance", {}),
    "Mahalanobis, with log EFPs": ("mahalanobis", "distance", PLAIN | EFPS),
    "8 Gaussians": ("gaussian_mixture", "nll", PLAIN),
    "isolation forest": ("isolation_forest", "isolation", PLAIN),
    "two views, not unskewed": ("two_views", "both", PLAIN),
    "two views (jets_best)": ("two_views", "both", {}),
}


def fitted_aucs(config, dataset, name: str, score: str) -> list[float]:
    """AUC of every signal by one score of a method."""
    fitted = methods.get(name).fit(config, dataset, None)
    scorer = Scorer(name, config, fitted, dataset.layout)
    return aucs_of(lambda x: scorer.scores(x)[score], dataset)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="fitted rows whose name holds this")
    args = parser.parse_args()
    table = defaultdict(list)
    for seed in tqdm(range(args.seeds), "splits", unit="split"):
        config = of_split(jets_best.get_config(), args, seed)
        dataset = data.load(config.data)
        for name, aucs in observable_aucs(dataset).items():
            table[name].append(aucs)
        for name, (method, score, changes) in FITTED.items():
            if args.only in name:
                own = config.copy_and_resolve_references()
                own.method.name = method
                own.update_from_flattened_dict(changes)
                table[name].append(fitted_aucs(own, dataset, method, score))
    print(markdown(table, tuple(dataset.signals)))


if __name__ == "__main__":
    main()
