"""Folds of the pictures for cross-validation, alike in their classes, with every group of duplicates in one fold."""

import numpy as np
from numpy.typing import NDArray

from search.data.stratified import label_folds

Indices = NDArray[np.int64]


def folds(labels: Indices, groups: Indices, count: int, *, seed: int) -> Indices:
    """The fold, from 0 to `count` - 1, of every picture (n,); the same arguments give the same folds.

    Class by class, the groups in random order go to the fold that has fewest pictures of the class so far. A group with
    pictures of several classes counts as its commonest. Of several labels a picture, 0 and 1 (n, labels), each is
    divided alike.
    """
    if labels.ndim == 2:
        return label_folds(labels, groups, count, seed=seed)
    random = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    filled = np.zeros((int(labels.max(initial=0)) + 1, count), np.int64)
    whole = np.zeros(count, np.int64)
    found = np.zeros(len(labels), np.int64)
    for place in random.permutation(len(members)).tolist():
        pictures = members[place]
        main = int(np.bincount(labels[pictures]).argmax())
        # Ties go to the smallest fold: classes of a few pictures would otherwise all fill the first ones.
        fold = min(range(count), key=lambda one: (filled[main, one], whole[one], one))
        found[pictures] = fold
        filled[:, fold] += np.bincount(labels[pictures], minlength=len(filled))
        whole[fold] += len(pictures)
    return found
