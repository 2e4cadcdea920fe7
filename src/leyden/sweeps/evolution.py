"""Where does CMA-ES look next? This file imports numpy and cmaes, so nobody imports it before they are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from cmaes import CMA

from leyden.sweeps.coordinates import Coordinate

Known = Mapping[int, tuple[tuple[float, ...], float | None]]  # number → place and value; None: it failed


@final
class Evolution:
    """Covariance matrix adaptation (Hansen, "The CMA Evolution Strategy: A Tutorial", 2016) over ordered coordinates.

    Trials number g·p to g·p + p - 1 are generation g, of p. A generation is told, in order, once all its trials have
    ended or were measured; one that failed has the worst value. So the answer depends on the trials alone, and a trial
    is drawn from the best distribution known when it is asked for, even if the generation before still trains.
    """

    def __init__(self, coordinates: Sequence[Coordinate], *, seed: int) -> None:
        self._coordinates, self._seed = coordinates, seed
        self._told: list[tuple[tuple[tuple[float, ...], float], ...]] = []
        self._restart()

    def ask(self, known: Known, *, seed: int) -> tuple[float, ...]:
        """`known`: all trials that have a value, or failed."""
        generations = self._generations(known)
        if self._told != generations[: len(self._told)]:
            self._restart()  # one of an earlier generation has a value now, or another one
        for generation in generations[len(self._told) :]:
            self._optimizer.tell([(self._unit(places), value) for places, value in generation])
            self._told.append(generation)
        self._optimizer.reseed_rng(seed)
        return tuple(
            self._place(one, float(x)) for one, x in zip(self._coordinates, self._optimizer.ask(), strict=True)
        )

    def _restart(self) -> None:
        """In the unit cube, from its middle; the first steps as wide as Optuna's."""
        size = len(self._coordinates)
        self._optimizer = CMA(
            mean=np.full(size, 0.5),
            sigma=1 / 6,
            bounds=np.tile([0.0, 1.0], (size, 1)),
            n_max_resampling=10 * size,
            seed=self._seed,
        )
        self._told = []

    def _generations(self, known: Known) -> list[tuple[tuple[tuple[float, ...], float], ...]]:
        size = self._optimizer.population_size
        found = []
        for first in range(0, max(known, default=0) + 1, size):
            members = [known[number] for number in range(first, first + size) if number in known]
            if len(members) == size and any(value is not None for _, value in members):
                found.append(tuple((place, math.inf if value is None else value) for place, value in members))
        return found

    def _unit(self, places: tuple[float, ...]) -> np.ndarray:
        """Places of a counted coordinate are the middles of equal parts."""
        return np.array(
            [
                (place - one.low) / (one.high - one.low) if one.count is None else (place + 0.5) / one.count
                for one, place in zip(self._coordinates, places, strict=True)
            ]
        )

    def _place(self, one: Coordinate, x: float) -> float:
        if one.count is None:
            return one.low + x * (one.high - one.low)
        return min(one.count - 1, math.floor(x * one.count))
