"""Maps of every photo: out-of-fold for training photos, the mean over folds for test photos."""

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from unets.config import ExperimentConfig
from unets.data.geometry import SizeHW
from unets.dataset.catalog import Catalog
from unets.dataset.folds import hash_folds
from unets.prediction.maps import split_shards
from unets.prediction.sources import find_weights, fingerprint_maps
from unets.prediction.stream import Maker, Order, Store, make_maps, order_all, take_stock
from unets.store.fingerprint import take_snapshot
from unets.store.paths import Project
from unets.store.runs import lock


def predict_experiments(
    project: Project,
    catalog: Catalog,
    experiments: Mapping[str, ExperimentConfig],
    *,
    folds: Mapping[str, int],
    use_folds: Mapping[str, Sequence[int]],
    anew: bool = False,
) -> None:
    """Predicts every training photo by the fold that did not see it, and every test photo by the mean of the folds.

    Experiments of one size look at each photo together. Shards that are there, whole and of the same origin are kept;
    damaged ones are made again.

    Args:
        project: the folders.
        catalog: the photos.
        experiments: by name.
        folds: fold of each training id.
        use_folds: by experiment, the folds whose nets predict; out-of-fold maps are made of their photos only.
        anew: delete what is there first.

    Raises:
        InputError: a fold is not trained to its end, with this config and on these folds, or there are maps of another
            origin: nothing is predicted then; or a photo or weights cannot be read.
    """
    with ExitStack() as stack:
        for name in sorted(experiments):
            stack.enter_context(lock(project.maps_dir(name, "test").parent))
        folds_hash = hash_folds(project.folds_path)
        weights_paths = {
            name: {
                fold: find_weights(
                    project.run_dir(name, fold), take_snapshot(experiment, catalog.dataset, fold, folds_hash)
                )
                for fold in use_folds[name]
            }
            for name, experiment in experiments.items()
        }
        if anew:
            for name in experiments:
                for kind in ("oof", "oof_no_tta", "test"):
                    shutil.rmtree(project.maps_dir(name, kind), ignore_errors=True)
        rounds: dict[tuple[SizeHW, str], list[Order]] = defaultdict(list)
        for name, experiment in experiments.items():
            for what, order in _order(project, catalog, name, experiment, folds, weights_paths[name]):
                rounds[experiment.data.size_hw, what].append(order)
        for (_, what), orders in rounds.items():
            make_maps(orders, what=what)


def _order(
    project: Project,
    catalog: Catalog,
    name: str,
    experiment: ExperimentConfig,
    folds: Mapping[str, int],
    weights_paths: Mapping[int, Path],
) -> list[tuple[str, Order]]:
    """Returns (which photos, in words; the maps that are missing of them): of each fold, and of the test photos."""
    classes, shard_size = catalog.dataset.classes, experiment.prediction.shard_size
    has_views = len(experiment.prediction.tta) > 1
    origin = fingerprint_maps(experiment, classes, weights_paths)
    start_anew = f"`make predict EXP={name} FOLD={','.join(map(str, weights_paths))} ANEW=1`"
    oof, test = (
        Store(
            folder=project.maps_dir(name, kind),
            no_tta_folder=no_tta_folder,
            fingerprint=origin,
            classes=classes,
            size_hw=experiment.data.size_hw,
            start_anew=start_anew,
        )
        for kind, no_tta_folder in (
            ("oof", project.maps_dir(name, "oof_no_tta") if has_views else None),
            ("test", None),
        )
    )
    oof_plan = [
        samples
        for fold in weights_paths
        for samples in split_shards([s for s in catalog.train if folds[s.id] == fold], shard_size)
    ]
    missing = take_stock(oof, oof_plan)
    orders = []
    for fold, path in weights_paths.items():
        shards = {index: samples for index, samples in missing.items() if folds[samples[0].id] == fold}
        maker = Maker(name=name, experiment=experiment, weights_paths=(path,), store=oof)
        orders.append((f"fold {fold} out-of-fold", Order(maker=maker, shards=shards)))
    maker = Maker(name=name, experiment=experiment, weights_paths=tuple(weights_paths.values()), store=test)
    return [*orders, ("test", order_all(maker, catalog.test))]
