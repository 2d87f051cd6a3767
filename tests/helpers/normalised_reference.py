"""Normalised autoencoder of vectors in NumPy, in double precision: what its parts have to equal."""

import numpy as np


def layers(p, x):
    names = sorted(p, key=lambda name: int(name.split("_")[1]))
    for name in names:
        x = x @ p[name]["kernel"] + p[name]["bias"]
        x = np.where(x > 0, x, np.expm1(x)) if name != names[-1] else x
    return x


def encode(p, x):
    z = layers(p["encoder"]["_Layers_0"], x)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def decode(p, z):
    return layers(p["decoder"]["_Layers_0"], z)


def energy(p, x):
    return ((x - decode(p, encode(p, x))) ** 2).mean(1)


def slope(function, v, h=1e-6):
    """Gradient of rows, function (n, d) -> (n,), by central differences."""
    unit = np.eye(v.shape[1]) * h
    return np.stack([(function(v + u) - function(v - u)) / (2 * h) for u in unit], 1)


def step(function, v, rate, limit, noise, settle):
    g = slope(function, v)
    g *= np.minimum(1, limit / np.linalg.norm(g, axis=1, keepdims=True))
    return settle(v - rate * g + noise)


def loss(p, x, negative, scale, gamma):
    low, high = energy(p, x) / scale, energy(p, negative) / scale
    return (low - high + gamma * high**2).mean()


def push(buffer, place, rows, weight):
    """First in first out on a ring; rows of weight 0 leave what lies in their places."""
    for row, w in zip(rows, weight, strict=True):
        buffer[place] = row if w else buffer[place]
        place = (place + 1) % len(buffer)
    return place
