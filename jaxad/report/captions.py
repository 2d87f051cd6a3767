"""What a reader of a report should know of each figure."""

CAPTIONS = {
    "roc": "Signal efficiency (TPR) against background efficiency (FPR); baselines are dashed.",
    "scores": "Distribution of the default score on test events of every class.",
    "training": "Loss of every stage against the epoch, on training and validation events; of a "
    "normalisation the distance of samples from background.",
    "average_images": "Mean input image of every class.",
    "reconstructions": "Test events, what the network makes of them, and their scores.",
    "feature_errors": "Mean squared error of each feature, in units of its spread in background.",
    "latent": "The code of test events, a colour a class.",
    "sculpting": "The mass spectrum of background after cuts on the score, against that before.",
    "following_flatness": "Flagged background in bins of each observable, by one threshold and by "
    "thresholds that follow the observables, both set on other events.",
    "following_efficiency": "Signal efficiency in bins of the first observable, by both; the "
    "dotted line is the background.",
    "profile": "Mean score against an observable: what the score may stand for.",
    "sic": "Significance improvement, TPR / sqrt(FPR), kept where the background's error allows.",
    "template": "Background samples against true background in the signal region, with pulls.",
    "selection": "Decision ordering with the teacher, and AUC, after every pass of the selection.",
    "ordering": "The teacher's score against the mimicker's on test events.",
    "graphs": "The chosen energy flow polynomials as graphs, in the order of the choice.",
    "discovery": "Mass spectra of held-out data after cuts, fitted outside the signal region. "
    "Significances are nominal: jaxad search calibrates them.",
    "search_summary": "The search on one page; bounds are arrows, extrapolations open.",
    "p_values": "Local p of each cut against the window, and global p, by pseudo-experiments.",
    "coverage": "Share of pseudo-experiments at or below each nominal p, which an honest p equals.",
    "closure": "Counts of false windows over expectation; the mean and the error that are taken.",
    "template_auc": "Data of false windows against draws of the template; 0.5 where it is exact.",
    "spectra": "Spectra before and after cuts, fits outside the window, and the template in it.",
    "power": "What injected signal would have given; the dotted line is as far as toys reach.",
}
"""By the name of the figure up to its first underscore, or by the whole name."""


def caption(name: str) -> str:
    """Caption of a figure by its name; the name itself where there is none."""
    text = CAPTIONS.get(name, CAPTIONS.get(name.partition("_")[0], ""))
    return f"{name}: {text}" if text else name
