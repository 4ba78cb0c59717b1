"""The screen: test images that look odd, found without ground truth; a page of them, and a csv of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from unets.config import DatasetConfig
from unets.data.samples import Sample
from unets.dataset.folds import measure_masks
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import Ensemble, read_ensemble
from unets.ensemble.recipe import Recipe, describe_threshold
from unets.errors import InputError
from unets.evaluation.predictions import Prediction
from unets.log import format_count
from unets.pages.gallery import PAGE, Column, Gallery, write_gallery, write_page
from unets.pages.measure import measure_all
from unets.pages.oddness import LEAST, MOST, SCALES, Oddness, measure_oddness
from unets.store.paths import Project
from unets.store.runs import write_text
from unets.submission.submission import open_members
from unets.tables import Table

TABLE = "images.csv"
_FEW_IMAGES = 10  # below which they hardly tell what is usual
MAX_IMAGES = 2000  # in the page: the oddest


@dataclass(frozen=True, kw_only=True, slots=True)
class Screening:
    """What was found."""

    page_path: Path
    csv_path: Path
    samples: tuple[Sample, ...]
    odd: Oddness
    notes: tuple[str, ...]  # what to keep in mind


def screen_test(
    project: Project, dataset: DatasetConfig, *, ensemble_name: str = "ensemble", top: int = 60
) -> Screening:
    """Looks at every test image as the ensemble sees it; needs no ground truth.

    Writes `screen/index.html`, which shows all odd images and opens from disk, and `screen/images.csv`, which has the
    figures of all. Maps stream through workers; what stays is a few figures an image. `top` images are shown at full
    size; as many are shown where fewer are odd. Raises InputError where there is no ensemble or no test image, its
    members' test maps are missing, damaged, of other bytes than the images have now, or not those it was fitted on.
    """
    ensemble, manifest = read_ensemble(project, ensemble_name), read_manifest(project, dataset)
    samples = manifest.test
    if not samples:
        raise InputError(f"`{project.input_dir}` must have test images for a screening. Received: none")
    predictions = _open_predictions(project, dataset, ensemble)
    for reader in predictions[0].readers:
        reader.check_samples(samples)
    measured, _ = measure_all(dataset, samples, predictions[:1], has_ground_truth=False)
    train_areas = [facts.share for facts in measure_masks(project, manifest).values()]
    odd = measure_oddness(measured, [s.group for s in samples], [s.view for s in samples], train_areas)
    folder = project.screen_dir(ensemble_name)
    shown = odd.order[: min(max(odd.num_odd, top), MAX_IMAGES)].tolist()
    meaning = f"sum over the figures of their distance from the median, {LEAST:g} to {MOST:g} each"
    first = Column(label="oddness", values=odd.total[shown], worst="high", meaning=meaning, prediction=0)
    values, distances = odd.values.iloc[shown], odd.distances.iloc[shown]
    data = write_gallery(
        folder,
        dataset,
        Gallery(
            name=f"{project.competition}/screen",
            samples=[samples[index] for index in shown],
            folds=[None] * len(shown),
            predictions=predictions,
            columns=[first, *(SCALES[k].to_column(values[k].to_numpy(), distances[k].to_numpy()) for k in values)],
            areas=values["area"].to_numpy(),
            has_ground_truth=False,
        ),
        shown=range(len(shown)),
        large=range(top),
    )
    write_text(folder / TABLE, _tabulate(samples, odd).to_csv(index=False, float_format="%.6g"))
    notes = {
        f"{format_count(len(samples), 'test image')} can hardly tell what is usual: take the order, not the figures": (
            len(samples) < _FEW_IMAGES
        ),
        "the ensemble has one member, so nothing can disagree with it: the uncertain band stands in for it": (
            "agreement" not in odd.values
        ),
        "groups have fewer than three images here, so no area is compared with its group": "group" not in odd.values,
        f"the {len(shown):,} oddest images are shown; `{TABLE}` beside this page has all": len(shown) < odd.num_odd,
    }
    found = Screening(
        page_path=folder / PAGE,
        csv_path=folder / TABLE,
        samples=samples,
        odd=odd,
        notes=tuple(note for note, is_so in notes.items() if is_so),
    )
    members = ", ".join(f"{member.experiment} ({member.weight:.3g})" for member in ensemble.used_members)
    write_page(
        folder,
        project,
        data,
        kind="screen",
        subtitle="Odd is not wrong: no ground truth is known here. Each image's mask is measured; what lies far from "
        "the usual is shown, the oddest first.",
        figures=[
            ("Odd test images", f"{odd.num_odd:,}", f"of {len(samples):,}"),
            ("Groups", f"{len({sample.group for sample in samples}):,}", "in the test set"),
            ("Threshold", describe_threshold(ensemble.threshold), f"of the {ensemble.name}"),
            ("Members", f"{len(ensemble.used_members)}", members),
        ],
        notes=found.notes,
        table=_describe_figures(odd, train_areas),
    )
    return found


def _open_predictions(project: Project, dataset: DatasetConfig, ensemble: Ensemble) -> list[Prediction]:
    """Opens the test set's probability maps: the ensemble's prediction, and of several members each one's."""
    readers = open_members(project, ensemble, dataset)
    ids, names = readers[0].ids, [member.experiment for member in ensemble.used_members]
    found = [Prediction(name=ensemble.name, readers=readers, recipes=dict.fromkeys(ids, ensemble.recipe))]
    recipe = Recipe(weights=(1.0,), threshold=ensemble.threshold, overlapping=ensemble.overlapping)
    for name, reader in zip(names, readers, strict=True) if len(readers) > 1 else ():
        found.append(Prediction(name=name, readers=(reader,), recipes=dict.fromkeys(ids, recipe)))
    return found


def _tabulate(samples: Sequence[Sample], odd: Oddness) -> pd.DataFrame:
    """Returns a row an image, the oddest first: what makes it odd, its figures, and each one's distance."""
    table = pd.DataFrame(
        {
            "id": [sample.id for sample in samples],
            "group": [sample.group for sample in samples],
            "view": [sample.view or "" for sample in samples],
            "oddness": odd.total,
            "reasons": [" ".join(odd.list_reasons(index)) for index in range(len(samples))],
        }
    )
    return pd.concat([table, odd.values, odd.distances.add_suffix("_distance")], axis=1).iloc[odd.order]


def _describe_figures(odd: Oddness, train_areas: Sequence[float]) -> Table:
    """Returns a row a figure: what it is, and where the images lie on it."""
    rows = []
    for name, values in odd.values.items():
        scale, meaning = SCALES[str(name)], SCALES[str(name)].meaning
        if name == "area" and train_areas:
            least, most = (scale.format(limit(train_areas)) for limit in (min, max))
            meaning += f", against the training masks, which have {least} to {most}"
        spread = [scale.format(value) for value in values.quantile([0.05, 0.5, 0.95])]
        rows.append((scale.label, meaning, *spread, f"{(odd.distances[name] >= LEAST).sum():,}"))
    header = ("figure", "what it is", "5 %", "median", "95 %", "odd images")
    return Table(header=header, rows=tuple(rows), right=frozenset(header[2:]))
