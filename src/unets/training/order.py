"""The order in which experiments are trained: one that starts from another comes after it."""

from collections.abc import Mapping

from unets.config import ExperimentConfig
from unets.errors import InputError


def order_experiments(experiments: Mapping[str, ExperimentConfig]) -> list[list[str]]:
    """Sorts experiments into generations: all that one starts from is in an earlier one, or not asked for.

    Args:
        experiments: configs by name.

    Returns:
        The names of each generation, in the order given.

    Raises:
        InputError: experiments start from each other in a circle.
    """
    left, generations = list(experiments), []
    while left:
        ready = [name for name in left if experiments[name].training.start_from not in left]
        if not ready:
            raise InputError(f"`start_from` must not lead back to where it began. Received: {', '.join(left)}")
        generations.append(ready)
        left = [name for name in left if name not in ready]
    return generations
