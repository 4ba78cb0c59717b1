"""The manifest: every image of a data set, the mask of each training image, and what their bytes are."""

import sys
from dataclasses import dataclass
from functools import cached_property

from unets.config import DatasetConfig
from unets.data.samples import SEPARATOR, Sample, find_kind
from unets.dataset.importing import find_path, import_if_changed, read_rows
from unets.store.paths import Project
from unets.store.runs import fingerprint


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All images of a data set, in the order of their ids."""

    dataset: DatasetConfig
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @cached_property
    def train_digest(self) -> str | None:
        """16 hex digits that change when a training image or mask does: its bytes, not its place or time.

        None where there are no training images.
        """
        if not self.train:
            return None
        return fingerprint(samples=[(s.id, s.image_hash, s.mask_hash) for s in self.train])


def read_manifest(project: Project, dataset: DatasetConfig, *, jobs: int | None = None) -> Manifest:
    """Reads models/<competition>/samples.csv, which is made first where it is missing or INPUT changed since.

    Args:
        project: the folders.
        dataset: the data set's config.
        jobs: worker processes for an import; None is one a core.

    Raises:
        InputError: see `import_data`.
    """
    import_if_changed(project, dataset, jobs=jobs)
    kind, samples = find_kind(dataset), {"train": list[Sample](), "test": list[Sample]()}
    for row in read_rows(project.samples_path):
        samples[row.split].append(
            Sample(
                id=row.id,
                # Interned: 16 images share a group's name, and strings are a third of what a sample takes.
                group=sys.intern(row.group),
                view=sys.intern(row.view) if row.view else None,
                image=str(find_path(project, row.image)),
                has_shares=dataset.has_shares and row.split == "train",
                masks=tuple(str(find_path(project, mask)) for mask in row.mask.split(SEPARATOR)) if row.mask else (),
                kind=kind,
                image_hash=row.image_hash,
                mask_hash=row.mask_hash,
            )
        )
    return Manifest(dataset=dataset, train=tuple(samples["train"]), test=tuple(samples["test"]))
