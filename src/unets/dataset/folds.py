"""Groups split into folds: once, into a file that every experiment reads.

The file, not the seed, says which image is in which fold: it is written when there is none, and from then on only
checked, so that folds outlive a change of library, and may be written by hand. The seed stands in the dataset's config.
"""

import csv
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from unets.data.samples import Sample, count_object_pixels, read_mask
from unets.dataset.checks import read_checked_shares
from unets.dataset.manifest import Manifest
from unets.errors import InputError, naming
from unets.store.paths import Project
from unets.store.runs import hash_file, write_csv
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

COLUMNS = ["id", "group", "fold"]
_NUM_STRATA = 5  # of areas, where groups have several sizes
_LEAST_SHARE = 10  # a fold of fewer images than a tenth of the mean is refused
_SMALL_SHARE = 2  # one of fewer than half of it is worth a warning


def split_groups(
    groups: Mapping[str, float], num_folds: int, seed: int, *, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Splits groups into folds so that each fold has small and large objects alike.

    Groups of one size are sorted by area and cut into blocks of `num_folds`, each assigned to the folds at random: over
    8 seeds, of 318 cars with 16 images each, the mean areas of 5 folds lay within 0.0025 of each other, those of
    scikit-learn's StratifiedGroupKFold within 0.0067. Groups of several sizes are split by the latter, which counts
    images: of 27 groups with 1 to 300 images, folds had 137 to 318 images in place of 49 to 406.

    Args:
        groups: mean share of the image that is object, by group.
        num_folds: number of folds.
        seed: of the split.
        sizes: images of each group; None: one each.

    Returns:
        The fold, 0 to num_folds - 1, of each group.

    Raises:
        InputError: there are fewer groups than folds.
    """
    if len(groups) < num_folds:
        raise InputError(f"`num_folds` must be at most the number of groups, {len(groups)}. Received: {num_folds}")
    by_area = sorted(groups, key=lambda group: (groups[group], group))
    if sizes is not None and len(set(sizes.values())) > 1:
        return _split_by_images(by_area, sizes, num_folds, seed)
    rng = np.random.default_rng(seed)
    folds: dict[str, int] = {}
    for start in range(0, len(by_area), num_folds):
        block = by_area[start : start + num_folds]
        folds |= dict(zip(block, rng.permutation(num_folds).tolist(), strict=False))  # the last block may be short
    return folds


def _split_by_images(by_area: Sequence[str], sizes: Mapping[str, int], num_folds: int, seed: int) -> dict[str, int]:
    """Splits groups, sorted by area, so that folds have as many images of each fifth of the areas."""
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    group_of = [group for group in by_area for _ in range(sizes[group])]
    fifths = np.arange(len(group_of)) * _NUM_STRATA // len(group_of)
    folds: dict[str, int] = {}
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # fewer of a stratum than folds
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        for fold, (_, inside) in enumerate(splitter.split(group_of, fifths, group_of)):
            folds |= dict.fromkeys((group_of[index] for index in inside), fold)
    return folds


def measure_shares(project: Project, manifest: Manifest, *, jobs: int | None = None) -> dict[str, float]:
    """Measures the share of the image that is object, for each training image.

    From the record of `unets check`, else by reading the masks.
    """
    shares = read_checked_shares(project, manifest)
    unread = [sample for sample in manifest.train if sample.id not in shares]
    measured = run_tasks(_measure_share, unread, what="masks", jobs=jobs, unit="mask")
    return shares | dict(zip((sample.id for sample in unread), measured, strict=True))


def write_folds(project: Project, manifest: Manifest, *, jobs: int | None = None) -> dict[str, int]:
    """Splits the training groups into folds and writes the fold file; a file that is there is checked and kept.

    Returns:
        The fold of each training id.

    Raises:
        InputError: there are too few groups, or the file that is there does not fit; see `read_folds`.
    """
    path, dataset = project.folds_path, manifest.dataset
    if path.exists():
        logger.info("%s is there already: checked and kept", path)
        return read_folds(path, manifest)
    shares = measure_shares(project, manifest, jobs=jobs)
    shares_by_group: dict[str, list[float]] = defaultdict(list)
    for sample in manifest.train:
        shares_by_group[sample.group].append(shares[sample.id])
    areas = {group: fmean(group_shares) for group, group_shares in shares_by_group.items()}
    sizes = Counter(sample.group for sample in manifest.train)
    folds = split_groups(areas, dataset.num_folds, dataset.folds_seed, sizes=sizes)
    counts = Counter(folds[sample.group] for sample in manifest.train)
    if min(counts[fold] for fold in range(dataset.num_folds)) * _LEAST_SHARE < len(manifest.train) / dataset.num_folds:
        raise InputError(
            f"`num_folds`={dataset.num_folds} must give folds of comparable size, or what one reaches says nothing. "
            f"Received: {[counts[fold] for fold in range(dataset.num_folds)]} images, of {len(sizes)} groups. Give "
            f"fewer folds, or finer groups, or write {path} by hand"
        )
    write_csv(path, COLUMNS, ((sample.id, sample.group, folds[sample.group]) for sample in manifest.train))
    for fold in range(dataset.num_folds):
        members = [areas[group] for group in areas if folds[group] == fold]
        logger.info("fold %d: %d groups, mean share of object %.4f", fold, len(members), fmean(members))
    return read_folds(path, manifest)


def read_folds(path: Path, manifest: Manifest) -> dict[str, int]:
    """Reads and checks the fold file.

    Returns:
        The fold of each training id, in the file's order.

    Raises:
        InputError: the file is missing or no such csv, an id is missing, unknown or there twice, a group is not the
            manifest's or stands in two folds, or a fold is out of range or empty.
    """
    if not path.is_file():
        raise InputError(f"{path} must exist: `unets split` writes it. Received: no such file")
    with naming(path, "be a csv in UTF-8"), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [row for row in reader if row]
    if header != COLUMNS:
        raise InputError(f"{path} must have the columns {COLUMNS}. Received: {header}")
    groups = {sample.id: sample.group for sample in manifest.train}
    folds, num_folds = dict[str, int](), manifest.dataset.num_folds
    fold_of_group, numbers = dict[str, int](), {str(fold) for fold in range(num_folds)}
    for row in rows:
        if len(row) != len(COLUMNS) or row[2] not in numbers:
            wanted = f"rows id,group,fold with a fold of 0 to {num_folds - 1}"
            raise InputError(f"{path} must have {wanted}. Received: {str(row)[:200]}")
        id_, group, fold = row[0], row[1], int(row[2])
        if groups.get(id_) != group:
            expected = f"group {groups[id_]} for {id_}" if id_ in groups else "training ids only"
            raise InputError(f"{path} must have {expected}. Received: {','.join(row)}")
        if id_ in folds:
            raise InputError(f"{path} must have each id once. Received: {id_} twice")
        if fold_of_group.setdefault(group, fold) != fold:
            raise InputError(
                f"{path} must have each group in one fold, or validation is no longer honest. "
                f"Received: group {group} in folds {fold_of_group[group]} and {fold}"
            )
        folds[id_] = fold
    _check_complete(folds, groups, path, num_folds)
    return folds


def hash_folds(path: Path) -> str:
    """Returns the SHA-256 of the fold file, which every run records."""
    return hash_file(path)


def _check_complete(folds: Mapping[str, int], ids: Mapping[str, str], path: Path, num_folds: int) -> None:
    missing = [id_ for id_ in ids if id_ not in folds]
    if missing:
        raise InputError(
            f"{path} must have each training id. Received: none for {missing[0]} ({len(missing)} missing in all); "
            f"delete the file to split again, which makes earlier runs incomparable"
        )
    empty = sorted(set(range(num_folds)) - set(folds.values()))
    counts = Counter(folds.values())
    small = [fold for fold in range(num_folds) if counts[fold] * _SMALL_SHARE < len(folds) / num_folds]
    if small and not empty:
        sizes = [counts[fold] for fold in range(num_folds)]
        logger.warning("%s: folds have %s images; what the smallest reach says little", path, sizes)
    if empty:
        raise InputError(f"{path} must have images in each of {num_folds} folds. Received: none in {empty}")


def _measure_share(sample: Sample) -> float:
    mask = read_mask(sample)
    return count_object_pixels(mask) / int(mask.shape[0] * mask.shape[1])
