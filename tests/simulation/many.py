"""Many seeds, on several cores."""

import gc
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.simulation.run import Result, run_seed

SEEDS_AT_A_TIME = 4


def run_seeds(seeds: Iterable[int], *, nodes: int, processes: int = 1) -> Iterator[Result]:
    """Yield the result of every seed, in order."""
    if processes == 1:
        get_ready()
        yield from (run_one(seed, nodes=nodes) for seed in seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=get_ready) as pool:
        yield from pool.map(partial(run_one, nodes=nodes), seeds, chunksize=SEEDS_AT_A_TIME)


def run_one(seed: int, *, nodes: int) -> Result:
    """Run a seed; its many circles of objects are collected when it is over, for that is cheaper."""
    gc.disable()
    try:
        return run_seed(seed, nodes=nodes)
    finally:
        gc.enable()
        gc.collect()


def get_ready() -> None:
    """Prepare this process for seeds: the product logs nothing, for what happens is in the trace."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()  # What there is now stays, and is not looked through after every seed.
