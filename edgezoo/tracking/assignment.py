"""Who is who: pairs of rows and columns whose gains have the largest sum.

Shortest augmenting paths, as in Jonker and Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear
Assignment Problems" (1987), in the form of Crouse, "On implementing 2D rectangular assignment algorithms" (2016).
SciPy has it as well, and would be 100 MB on a device for these lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


def match(gains: npt.NDArray[Any]) -> tuple[Indices, Indices]:
    """Rows and columns of the pairs that gain most in all; a gain of zero or less is no pair. Rows are in order.

    Of several equally good answers always the same one.
    """
    column_of = np.full(len(gains), -1)
    if gains.size:
        wanted, best = gains > 0, gains.argmax(axis=1)
        alone = wanted.sum(axis=0)[best] == 1
        rows = wanted.any(axis=1)
        np.copyto(column_of, best, where=rows & alone)  # nobody else wants its best
        rest = np.flatnonzero(rows & ~alone)
        if rest.size:
            columns = np.flatnonzero(wanted[rest].any(axis=0))
            part = gains[rest[:, None], columns]
            chosen = _solve(np.where(part > 0, part, -np.inf))
            paired = chosen < columns.size
            column_of[rest[paired]] = columns[chosen[paired]]
    pairs = np.flatnonzero(column_of >= 0)
    return pairs, column_of[pairs]


def _solve(gains: npt.NDArray[Any]) -> Indices:
    """The column of each row; a number past the last column leaves the row alone."""
    count, width = gains.shape
    costs = np.full((count, width + count), np.inf)
    costs[:, :width] = -gains
    costs[np.arange(count), width + np.arange(count)] = 0  # to stay alone, which is open to each row
    best = costs.argmin(axis=1)
    row_price, column_price = costs.min(axis=1), np.zeros(width + count)
    row_of, column_of = np.full(width + count, -1), np.full(count, -1)
    taken, first = np.unique(best, return_index=True)
    row_of[taken], column_of[first] = first, taken
    for row in np.flatnonzero(column_of < 0):
        _augment(int(row), costs, row_price, column_price, row_of, column_of)
    return column_of


def _augment(
    start: int,
    costs: npt.NDArray[Any],
    row_price: npt.NDArray[Any],
    column_price: npt.NDArray[Any],
    row_of: Indices,
    column_of: Indices,
) -> None:
    """Find `start` a column by the cheapest chain of rows that each move on to another."""
    cheapest = np.full(costs.shape[1], np.inf)
    came_from = np.full(costs.shape[1], -1)
    open_cost = cheapest.copy()  # infinite once a column is settled
    settled: list[int] = []
    row, spent = start, 0.0
    while row >= 0:
        through = spent + costs[row] - row_price[row] - column_price
        better = through < cheapest
        better[settled] = False
        cheapest[better] = open_cost[better] = through[better]
        came_from[better] = row
        column = int(open_cost.argmin())
        spent = float(cheapest[column])
        open_cost[column] = np.inf
        settled.append(column)
        row = int(row_of[column])
    passed = np.array(settled[:-1], np.intp)
    row_price[start] += spent
    row_price[row_of[passed]] += spent - cheapest[passed]
    column_price[passed] -= spent - cheapest[passed]
    while True:
        row = int(came_from[column])
        row_of[column] = row
        column, column_of[row] = int(column_of[row]), column
        if row == start:
            return
