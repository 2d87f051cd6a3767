"""One experiment a file; `jaxad.configs` is this folder."""
