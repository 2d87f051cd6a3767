"""A search for a resonance in unlabelled data: windows, template, closure, pseudo-experiments.

What is counted, how often the background alone does so, and what follows: `jaxad.search.run`.
"""
