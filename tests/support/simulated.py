"""Pair differences with known truth: means at a cosine, noise of a given reliability and shape."""

import math

import torch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def means(cosine, d):
    """Two unit vectors with a given cosine."""
    mu = torch.zeros(2, d, dtype=torch.float64)
    mu[:, 0] = 1.0
    mu[1, 0], mu[1, 1] = cosine, math.sqrt(1 - cosine**2)
    return mu


def noise_scale(reliability, n, d):
    """Standard deviation of isotropic noise at which a unit mean of n pairs is so reliable."""
    return math.sqrt(n / d * (1 / reliability - 1))


def draw(mu, n, sigma, random):
    """Pair differences of each category around its mean."""
    noise = torch.randn(len(mu), n, mu.shape[1], generator=random, dtype=torch.float64)
    return list(mu[:, None] + sigma * noise)
