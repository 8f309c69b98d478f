"""A heap of items, the largest key first and of equal ones the smaller item, in which every item knows its place.

Rule: `where`[item] is its place in `heap`, -1 outside; keys of items inside change only together with `settle`.
"""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", inline="always")
def ahead(a, b, key):
    """Does item a come before item b?"""
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@njit(cache=True, error_model="numpy", inline="always")
def sink(root, size, heap, where, key):
    """Move the item at `root`, below which all is in order, down to its place."""
    item = heap[root]
    child = 2 * root + 1
    while child < size:
        if child + 1 < size:
            child += np.int64(ahead(heap[child + 1], heap[child], key))
        if not ahead(heap[child], item, key):
            break
        heap[root] = heap[child]
        where[heap[root]] = root
        root, child = child, 2 * child + 1
    heap[root] = item
    where[item] = root


@njit(cache=True, error_model="numpy", inline="always")
def settle(root, size, heap, where, key):
    """Move the item at `root`, the only one out of order, up or down to its place."""
    item = heap[root]
    while root > 0 and ahead(item, heap[(root - 1) // 2], key):
        heap[root] = heap[(root - 1) // 2]
        where[heap[root]] = root
        root = (root - 1) // 2
    heap[root] = item
    sink(root, size, heap, where, key)


@njit(cache=True, error_model="numpy", inline="always")
def enter(item, size, heap, where, key):
    """Put an item in; the new size."""
    heap[size] = item
    settle(size, size + 1, heap, where, key)
    return size + 1


@njit(cache=True, error_model="numpy", inline="always")
def leave(item, size, heap, where, key):
    """Take an item out; the new size."""
    root, last = where[item], heap[size - 1]
    where[item] = -1
    if last != item:
        heap[root] = last
        settle(root, size - 1, heap, where, key)
    return size - 1
