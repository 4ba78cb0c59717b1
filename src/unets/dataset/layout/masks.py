"""Masks of a guess: from files, from a csv, and the columns of the submission."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from unets.data.rle import Order, decode_rle
from unets.data.samples import IGNORE
from unets.dataset.layout.draft import Draft
from unets.dataset.layout.inventory import File
from unets.dataset.layout.looks import look_at
from unets.dataset.layout.order import find_order
from unets.dataset.layout.roles import Pair
from unets.dataset.layout.sets import PictureSet
from unets.dataset.layout.tables import NO_OBJECT, MaskTable, Table, find_masks
from unets.dataset.layout.values import find_meaning, read_names
from unets.errors import InputError

_FEW = 8  # masks that are compared


def find_file_masks(draft: Draft, pair: Pair, names_file: File | None, texts: Sequence[File]) -> None:
    """Declares masks that are files: their pattern, and what their values mean."""
    masks = pair.masks
    paths = [file.path for files in masks.files.values() for file in files]
    look = look_at(paths, thoroughly=True)
    names, source = read_names([names_file] if names_file else texts, is_given=names_file is not None)
    if names_file and not names:
        raise InputError(f"`CLASSES` must list a name and a value or colour a class. Received: {names_file.path}")
    draft.add(masks=masks.pattern)
    if masks.has_several:
        most = max(len(files) for files in masks.files.values())
        draft.add(f"a file an object, up to {most} a photo", unite_masks=True)
    meaning = find_meaning(look, names, is_united=masks.has_several)
    draft.add(**meaning.fields)
    draft.doubts.extend(meaning.doubts)
    if source and names:
        draft.comments["classes"] = f"as {source} names them"
    seen = "all" if look.num_seen == look.num_files else f"{look.num_seen} of {look.num_files}"
    draft.notes.append(f"masks: the values of {seen} files were counted; check reads every one")


def find_csv_masks(draft: Draft, found: MaskTable | None, photos: Mapping[str, File], masks: PictureSet | None) -> None:
    """Declares masks that are run lengths: their columns, classes and order; compares them with those of files."""
    if found is None:
        return
    if masks is not None:
        _compare_with_files(draft, found, photos, masks)
        return
    classes = found.classes or ("object",)
    draft.add(
        masks=None,
        masks_csv=found.table.name,
        read_masks_from="csv",
        classes=classes,
        mask_values=tuple(range(1, len(classes) + 1)),
        csv_image_column=found.image_column,
        csv_rle_column=found.rle_column,
        csv_class_column=found.class_column,
        csv_image=found.image_cell,
    )
    if found.has_several_rows:
        draft.add("a row an object", unite_masks=True)
    missing = sorted(photos.keys() - found.ids)
    if missing:
        draft.add(csv_omits_empty=True)
        draft.doubt(
            "csv_omits_empty",
            "True",
            why=f"{len(missing)} photos have no row, {missing[0]} first: they are taken to hold no object",
            instead="False, and no such photos",
        )
    rles = _list_rles(found, photos)
    plain = {id_: [rle for _, rle in rows] for id_, rows in rles.items()}
    verdict = find_order(plain, {id_: photos[id_].path for id_ in rles})
    draft.add(verdict.why, rle_order=verdict.order)
    if not verdict.is_sure:
        other = "row" if verdict.order == "column" else "column"
        draft.doubt("rle_order", repr(verdict.order), why=verdict.why, instead=f"{other!r}")


def _list_rles(found: MaskTable, photos: Mapping[str, File]) -> dict[str, list[tuple[str, str]]]:
    """Returns (class, run lengths) of each photo's rows; no object is "", and so is a class without a name."""
    rles: dict[str, list[tuple[str, str]]] = {}
    photo_of = {file_name: id_ for id_ in photos for file_name in (id_, id_ + photos[id_].ending)}
    for row in found.table.rows:
        cell = row[found.image_column]
        class_name = row[found.class_column] if found.class_column else ""
        if "{class}" in found.image_cell:
            cell, _, class_name = cell.rpartition("_")
        rle = row[found.rle_column].strip()
        if cell in photo_of:
            rles.setdefault(photo_of[cell], []).append((class_name, "" if rle == NO_OBJECT else rle))
    return rles


def _compare_with_files(draft: Draft, found: MaskTable, photos: Mapping[str, File], masks: PictureSet) -> None:
    """Declares a csv of the masks that files hold too, if some of them are equal in one order; it names the classes."""
    draft.notes.append(f"not used: {found.table.name}, which has run lengths too; masks are read from files")


def _match_classes(
    truths: Sequence[tuple[npt.NDArray[np.uint8], Sequence[tuple[str, str]]]], order: Order
) -> dict[str, int]:
    """Finds the class index of each class of a csv, by its pixels; empty where they are not those of one class."""
    found: dict[str, int] = {}
    for mask_hw, rows in truths:
        for name, rle in rows:
            if not rle:
                continue
            values = mask_hw[decode_rle(rle, (mask_hw.shape[0], mask_hw.shape[1]), order) > 0]
            index = int(values[0])
            is_whole = (values == index).all() and np.count_nonzero(mask_hw == index) == values.size
            if not is_whole or index in (0, IGNORE) or found.setdefault(name, index) != index:
                return {}
    return found if len(set(found.values())) == len(found) else {}


def find_submission_columns(
    draft: Draft, tables: Sequence[Table], found: MaskTable | None, test: Mapping[str, File]
) -> None:
    """Declares the sample submission and its columns, or that there is none."""
    if not test:
        _declare_own_columns(draft, has_table=draft.fields.get("masks_csv") is not None)
        draft.notes.append("test photos: none; the pipeline ends with the ensemble's out-of-fold score")
        return
    names = {id_: id_ + file.ending for id_, file in test.items()}
    samples = [s for t in tables if (found is None or t is not found.table) and (s := _find_sample(t, names, found))]
    sample = max(samples, key=lambda s: len(s.ids), default=None)
    if sample is not None and found is not None and draft.fields.get("masks_csv") is not None:
        same = ("image_column", "rle_column", "class_column", "image_cell")
        if any(getattr(sample, name) != getattr(found, name) for name in same):
            draft.doubt(
                "sample_submission",
                "None",
                why=f"{sample.table.name} has other columns than {found.table.name}, and they must be the same",
                instead="a copy of one of them with the other's columns",
            )
            sample = None
    if sample is None:
        draft.notes.append("sample submission: none; a submission has a row a photo and class, run lengths along rows")
        _declare_own_columns(draft, has_table=draft.fields.get("masks_csv") is not None)
        return
    draft.add(
        sample_submission=sample.table.name,
        csv_image_column=sample.image_column,
        csv_rle_column=sample.rle_column,
        csv_class_column=sample.class_column,
        csv_image=sample.image_cell,
    )
    classes = draft.fields["classes"]
    if sample.classes and set(sample.classes) != set(classes):
        draft.doubt(
            "classes",
            str(classes),
            why=f"{sample.table.name} names {', '.join(sample.classes)}",
            instead="these names, in the order of mask_values",
        )
    if draft.fields.get("rle_order") is None:
        draft.add(rle_order="column")
        draft.doubt(
            "rle_order",
            "'column'",
            why="nothing here has run lengths of known masks; most competitions count down the columns",
            instead="'row'; the competition's page says which",
        )


def _declare_own_columns(draft: Draft, *, has_table: bool) -> None:
    """Declares a submission of our own making: nobody gave a sample."""
    draft.add("none is here: a row a photo and class", sample_submission=None)
    if not has_table:
        several = len(draft.fields["classes"]) > 1
        draft.add(csv_image_column="image", csv_rle_column="rle_mask", csv_image="{id}")
        draft.add(csv_class_column="class" if several else None)


def _find_sample(table: Table, names: Mapping[str, str], found: MaskTable | None) -> MaskTable | None:
    """Reads a table as a sample submission, whose run lengths may all be empty."""
    candidates = [c for c in ([found.rle_column] if found else []) if c in table.columns]
    candidates += [c for c in table.columns if any(word in c.lower() for word in ("rle", "mask", "pixels", "predict"))]
    candidates += [c for c in reversed(table.columns) if c not in candidates]
    for column in candidates:
        sample = find_masks(table, names, rle_column=column)
        if sample is not None and len(sample.ids) >= 0.9 * len(names):
            return sample
    return None
