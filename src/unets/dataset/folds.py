"""Groups split into folds: once, into a file that every experiment reads.

The file, not the seed, says which image is in which fold: it is written when there is none, and from then on only
checked, so that folds outlive a change of library, and may be written by hand.
"""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NoReturn

import numpy as np

from unets.data.samples import Sample, read_mask
from unets.dataset.checks import MaskFacts, read_checked_masks
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import read_csv, write_csv
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

COLUMNS = ["id", "group", "fold"]
_SEED = 2017  # the year of the Carvana challenge; any would do
_NUM_STRATA = 5  # of areas, where groups have several sizes
_LEAST_SHARE = 10  # a fold of fewer images than a tenth of the mean is refused
_SMALL_SHARE = 2  # one of fewer than half of it is worth a warning


def split_groups(
    groups: Mapping[str, float], num_folds: int, seed: int, *, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Splits groups into folds, 0 to num_folds - 1, so that each fold has small and large objects alike.

    `groups` has the mean share of the image that is object, by group; `sizes` the images of each group, None is one
    each. Groups of one size are sorted by area and cut into blocks of `num_folds`, each assigned to the folds at
    random: over 8 seeds, of 318 cars with 16 images each, the mean areas of 5 folds lay within 0.0025 of each other,
    those of scikit-learn's StratifiedGroupKFold within 0.0067. Groups of several sizes are split by the latter, which
    counts images: of 27 groups with 1 to 300 images, folds had 137 to 318 images in place of 49 to 406.
    """
    if len(groups) == 1:
        raise InputError(
            f"training images must be of two groups at least, as one is held out to score nets. Received: one, "
            f"{next(iter(groups))}. `source.group` of dataset.py, or the column `group` of its table, says what it is"
        )
    if len(groups) < num_folds:
        raise InputError(f"`num_folds` must be at most the number of groups, {len(groups)}. Received: {num_folds}")
    by_area, fold_of = sorted(groups, key=lambda group: (groups[group], group)), dict[str, int]()
    if sizes is None or len(set(sizes.values())) == 1:
        rng = np.random.default_rng(seed)
        for start in range(0, len(by_area), num_folds):
            block = by_area[start : start + num_folds]  # the last one may be short
            fold_of |= dict(zip(block, rng.permutation(num_folds).tolist(), strict=False))
        return _number_folds(groups, fold_of, num_folds, sizes or dict.fromkeys(groups, 1))
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    group_of = [group for group in by_area for _ in range(sizes[group])]
    strata = np.arange(len(group_of)) * _NUM_STRATA // len(group_of)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # fewer of a stratum than folds
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        for fold, (_, inside) in enumerate(splitter.split(group_of, strata, group_of)):
            fold_of |= dict.fromkeys((group_of[index] for index in inside), fold)
    return _number_folds(groups, fold_of, num_folds, sizes)


def _number_folds(
    groups: Mapping[str, float], fold_of: Mapping[str, int], num_folds: int, sizes: Mapping[str, int]
) -> dict[str, int]:
    """Numbers folds again, as fold 0 may be the only one that is trained.

    Folds without an object come last, and so does one of more than half of the images; where a single fold has objects,
    it does, so that the others train on them.
    """
    with_objects = {fold_of[group] for group, area in groups.items() if area > 0}
    counts = Counter[int]()
    for group, fold in fold_of.items():
        counts[fold] += sizes[group]

    def is_poor(fold: int) -> bool:
        return (fold in with_objects) == (len(with_objects) == 1) or 2 * counts[fold] > counts.total()

    order = sorted(range(num_folds), key=is_poor)
    return {group: order.index(fold) for group, fold in fold_of.items()}


def measure_masks(project: Project, manifest: Manifest) -> dict[str, MaskFacts]:
    """Tells what the mask of each training image holds, from the record of `unets check` or the masks."""
    known = read_checked_masks(project, manifest)
    unread = [sample for sample in manifest.train if sample.id not in known]
    measure = partial(_measure_mask, len(manifest.dataset.classes))
    measured = run_tasks(measure, unread, what="masks", unit="mask")
    return known | dict(zip((sample.id for sample in unread), measured, strict=True))


def _measure_mask(num_classes: int, sample: Sample) -> MaskFacts:
    return MaskFacts.of(read_mask(sample), num_classes)


def write_folds(project: Project, manifest: Manifest) -> dict[str, int]:
    """Splits the training groups into folds and writes the fold file; a file that is there is checked and kept.

    Returns the fold of each training id. Raises InputError where there are too few groups, and as `read_folds`.
    """
    path, dataset = project.folds_path, manifest.dataset
    if path.exists():
        logger.info("%s is there already: checked and kept", path)
        return read_folds(path, manifest)
    facts, shares_of = measure_masks(project, manifest), defaultdict[str, list[float]](list)
    for sample in manifest.train:
        shares_of[sample.group].append(facts[sample.id].share)
    areas = {group: fmean(own) for group, own in shares_of.items()}
    sizes = {group: len(own) for group, own in shares_of.items()}
    fold_of = split_groups(areas, dataset.num_folds, _SEED, sizes=sizes)
    members = [[group for group in areas if fold_of[group] == fold] for fold in range(dataset.num_folds)]
    counts = [sum(sizes[group] for group in own) for own in members]
    if min(counts) * _LEAST_SHARE < len(manifest.train) / dataset.num_folds:
        raise InputError(
            f"`num_folds`={dataset.num_folds} must give folds of comparable size, or what one reaches says nothing. "
            f"Received: {counts} images, of {len(sizes)} groups. Give fewer folds, or finer groups, or write {path} by "
            f"hand"
        )
    write_csv(path, COLUMNS, ((sample.id, sample.group, fold_of[sample.group]) for sample in manifest.train))
    for fold, own in enumerate(members):
        area = fmean(areas[group] for group in own)
        logger.info("fold %d: %d groups, mean share of object %.4f", fold, len(own), area)
        if area == 0:
            logger.warning("fold %d: no image has an object: scores of this fold say little", fold)
    _warn_of_rare_classes(dataset.classes, [(fold_of[s.group], facts[s.id].classes) for s in manifest.train])
    return read_folds(path, manifest)


def _warn_of_rare_classes(classes: Sequence[str], found: Sequence[tuple[int, tuple[int, ...]]]) -> None:
    """Names each class that the net of a fold cannot learn; `found` has of each image (fold, its classes)."""
    for index, name in enumerate(classes):
        held = {fold for fold, own in found if index in own}
        if not held:
            logger.warning("no training image holds %s: no net can learn it", name)
        if len(held) == 1:
            (fold,) = held
            logger.warning("all images with %s are in fold %d, whose net cannot learn it: scores are low", name, fold)


def read_folds(path: Path, manifest: Manifest) -> dict[str, int]:
    """Reads and checks the fold file; returns the fold of each training id, in its order.

    Raises:
        InputError: the file is missing or no such csv, an id is missing, unknown or there twice, a group is not the
            manifest's or stands in two folds, or a fold is out of range or empty.
    """
    if not path.is_file():
        raise InputError(f"{path} must exist: `unets split` writes it. Received: no such file")
    remedy = "Delete the file to split again, which makes earlier runs incomparable"

    def refuse(wanted: str, received: object) -> NoReturn:
        raise InputError(f"{path} must have {wanted}. Received: {str(received)[:200]}. {remedy}")

    groups, num_folds = {sample.id: sample.group for sample in manifest.train}, manifest.dataset.num_folds
    fold_of, fold_of_group = dict[str, int](), dict[str, str]()
    for id_, group, fold in read_csv(path, COLUMNS, remedy=remedy):
        if fold not in map(str, range(num_folds)):
            refuse(f"rows id,group,fold with a fold of 0 to {num_folds - 1}", [id_, group, fold])
        if groups.get(id_) != group:
            words = f"group {groups[id_]} for {id_}" if id_ in groups else "training ids only"
            refuse(words, f"{id_},{group},{fold}")
        if id_ in fold_of:
            refuse("each id once", f"{id_} twice")
        if fold_of_group.setdefault(group, fold) != fold:
            refuse(
                "each group in one fold, or validation is no longer honest",
                f"group {group} in folds {fold_of_group[group]} and {fold}",
            )
        fold_of[id_] = int(fold)
    if missing := [id_ for id_ in groups if id_ not in fold_of]:
        refuse("each training id", f"none for {missing[0]} ({len(missing)} missing in all)")
    counts = Counter(fold_of.values())
    sizes = [counts[fold] for fold in range(num_folds)]
    if empty := [fold for fold, size in enumerate(sizes) if size == 0]:
        refuse(f"images in each of {num_folds} folds", f"none in {empty}")
    if min(sizes) * _SMALL_SHARE < len(fold_of) / num_folds:
        logger.warning("%s: folds have %s images; what the smallest reach says little", path, sizes)
    return fold_of
