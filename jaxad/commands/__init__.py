"""One verb a file: what `jaxad VERB` does."""
