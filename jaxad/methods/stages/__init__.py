"""What several methods share: densities, classifiers, trees, the selection of mimickers."""
