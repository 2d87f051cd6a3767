"""The Pareto front of bits: what a trigger's score loses, and what it costs; see `__main__`."""
