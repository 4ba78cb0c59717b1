"""The guess: facts of a folder in, the dataset's config out, with every doubt; nothing is written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unets.config import DatasetConfig, SizeHW
from unets.data.files import fixed_folder
from unets.dataset.layout.doubts import Doubt
from unets.dataset.layout.draft import Draft
from unets.dataset.layout.groups import (
    BLOCKS,
    SINGLE,
    count_groups,
    find_group_column,
    find_grouping,
    sort_naturally,
)
from unets.dataset.layout.inventory import File, Inventory
from unets.dataset.layout.looks import compare_neighbours, look_at, measure_range, read_headers
from unets.dataset.layout.masks import find_csv_masks, find_file_masks, find_submission_columns
from unets.dataset.layout.roles import Pair, Roles, deal_roles, join_patterns
from unets.dataset.layout.sets import PictureSet, make_sets
from unets.dataset.layout.tables import MaskTable, Table, find_masks, read_table
from unets.errors import InputError

# Of `compare_neighbours`: below, neighbours are frames or slices. CamVid's frames, a second apart, have 0.54, slices of
# ISBI's membranes 0.63; photos in no order 1.0, give or take 0.1.
_ALIKE = 0.75
_FOLDS = 5
_GREY_MODES, _DEEP_MODES = {"L", "LA", "1"}, {"I;16", "I;16B", "I;16L", "I"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """What a folder seems to hold."""

    fields: dict[str, Any]  # of DatasetConfig, those that are not at their defaults, in its order
    comments: dict[str, str]  # why, by field
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]  # what to check or know, though nothing in the files speaks against it
    photo_hw: SizeHW  # the most frequent
    num_train: int
    num_test: int
    num_groups: int
    truth: str = ""  # folder of the test photos' masks, for `make score GROUND_TRUTH=`

    @property
    def dataset(self) -> DatasetConfig:
        """The config."""
        return DatasetConfig(**self.fields)


def guess_layout(inventory: Inventory, names_file: File | None = None) -> Guess:
    """Guesses a dataset's config.

    Args:
        inventory: of the competition's folder.
        names_file: a list of classes that was given; None: one is looked for among the texts.

    Raises:
        InputError: there are no photos, or no masks, or they cannot be told.
    """
    draft = Draft()
    sets = make_sets(inventory.pictures)
    looks = {s.pattern: look_at([files[0].path for files in s.files.values()]) for s in sets}
    roles = deal_roles(sets, looks)
    tables = [table for file in inventory.tables if (table := read_table(file)) is not None]
    photos, test, found = _find_photos(roles, tables, draft)
    if roles.train is not None:
        find_file_masks(draft, roles.train, names_file, inventory.texts)
        _join_val(roles, photos, draft)
    find_csv_masks(draft, found, photos, roles.train.masks if roles.train else None)
    _declare_photos(draft, photos, test, roles)
    find_submission_columns(draft, tables, found, test)
    ids = sorted(photos)
    _declare_groups(draft, ids, photos, test, [t for t in tables if found is None or t is not found.table])
    photo_hw = _declare_sizes(draft, [*photos.values(), *test.values()])
    draft.add(metric="iou" if len(draft.fields["classes"]) > 1 else "dice")
    draft.notes.append(f"metric: {draft.fields['metric']}; the competition's page says which it is")
    _leave_out(draft, sets, roles)
    for pattern, reason in roles.unused.items():
        draft.notes.append(f"not used: {pattern} ({reason})")
    group = re.compile(draft.fields["id_pattern"]).fullmatch
    groups = [{match["group"] for id_ in photos_of if (match := group(id_))} for photos_of in (photos, test)]
    if draft.fields["id_pattern"] not in (SINGLE, BLOCKS) and groups[0] & groups[1]:
        shared = ", ".join(sorted(groups[0] & groups[1])[:3])
        draft.notes.append(
            f"test photos are of the training photos' groups ({shared}): easier than those of new groups"
        )
    truth = fixed_folder(roles.test_masks.pattern) if roles.test_masks else ""
    return Guess(
        fields=_order(draft.fields),
        comments=draft.comments,
        doubts=tuple(draft.doubts),
        notes=tuple(draft.notes),
        photo_hw=photo_hw,
        num_train=len(photos),
        num_test=len(test),
        num_groups=_count(draft, ids),
        truth=truth,
    )


def _find_photos(
    roles: Roles, tables: Sequence[Table], draft: Draft
) -> tuple[dict[str, File], dict[str, File], MaskTable | None]:
    """Returns (training photos, test photos, table of the training masks if there is one)."""
    if roles.train is not None:
        photos = {id_: roles.train.photos.files[id_][0] for id_ in roles.train.photos.files}
        test_set = roles.test
        found = _find_table(tables, photos)
        draft.add(photos=roles.train.photos.pattern)
        _doubt_partners(draft, roles)
        _doubt_others(draft, roles.others)
    else:
        ranked = [(found, s) for s in roles.photos if (found := _find_table(tables, _take_first(s)))]
        if not ranked:
            names = ", ".join(s.pattern for s in roles.photos)
            raise InputError(
                f"`INPUT` must hold masks: pictures named like the photos, or a csv with run lengths. Received: photos "
                f"{names}, and {len(tables)} csv files without masks of theirs"
            )
        found, train_set = max(ranked, key=lambda pair: len(pair[0].ids))
        photos = _take_first(train_set)
        draft.add(photos=train_set.pattern)
        others = [s for s in roles.photos if s is not train_set]
        called = [s for s in others if s.split == "test"]
        test_set = next(iter(called), others[0] if len(others) == 1 else None)
        idle = [s.pattern for s in others if s is not test_set]
        draft.notes.extend(f"not used: {pattern} (photos without rows of masks)" for pattern in idle)
    test = _take_first(test_set) if test_set else {}
    draft.add(test_photos=test_set.pattern if test_set else None)
    if test_set is not None and test_set.split != "test":
        draft.doubt(
            "test_photos",
            repr(test_set.pattern),
            why="these photos have no masks, but nothing calls them test photos",
            instead="None",
        )
    return photos, test, found


def _doubt_partners(draft: Draft, roles: Roles) -> None:
    """Notes photos without masks and masks without photos; check would refuse them."""
    pair = roles.train
    if pair is None:
        return
    for what, here, there in (("photos", pair.photos, pair.masks), ("masks", pair.masks, pair.photos)):
        alone = sorted(here.files.keys() - there.files.keys())
        if alone:
            names = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
            draft.doubt(
                what,
                repr(here.pattern),
                why=f"{len(alone)} {what} have no partner: {names}; check will refuse them",
                instead="leave_out=(a pattern of them,), or move these files away",
            )


def _doubt_others(draft: Draft, others: Sequence[Pair]) -> None:
    """Names further pairs of photos and masks that are not used."""
    if not others:
        return
    named = ", ".join(f"{pair.photos.pattern} with {pair.masks.pattern}" for pair in others[:4])
    more = f" and {len(others) - 4} more" if len(others) > 4 else ""
    draft.doubt(
        "photos",
        repr(draft.fields["photos"]),
        why=f"there are other photos with masks, which are left out: {named}{more}",
        instead="one of these; both, as {a,b}, where folders differ by a word; names must not repeat over folders",
    )


def _find_table(tables: Sequence[Table], photos: Mapping[str, File]) -> MaskTable | None:
    names = _name_photos(photos)
    found = [m for table in tables if not _is_sample(table) and (m := find_masks(table, names))]
    return max(found, key=lambda m: len(m.ids), default=None)


def _is_sample(table: Table) -> bool:
    return re.search(r"sample|submission", table.name.lower()) is not None


def _name_photos(photos: Mapping[str, File]) -> dict[str, str]:
    return {id_: id_ + file.ending for id_, file in photos.items()}


def _take_first(pictures: PictureSet) -> dict[str, File]:
    return {id_: files[0] for id_, files in pictures.files.items()}


def _join_val(roles: Roles, photos: dict[str, File], draft: Draft) -> None:
    """Lets validation photos join the training photos; folds deal them anew. Adds them to `photos`."""
    if roles.val is None or roles.train is None:
        return
    pattern = join_patterns(roles.train.photos.pattern, roles.val.photos.pattern)
    masks = join_patterns(roles.train.masks.pattern, roles.val.masks.pattern)
    if pattern is None or masks is None or roles.val.photos.files.keys() & photos.keys():
        draft.doubt(
            "photos",
            repr(draft.fields["photos"]),
            why=f"{roles.val.photos.pattern} is left out: its names do not join those of the training photos",
            instead="one folder of both",
        )
        return
    photos |= _take_first(roles.val.photos)
    draft.add("training and validation photos: folds are dealt anew", photos=pattern, masks=masks)
    draft.notes.append(
        f"{len(roles.val.photos.files)} validation photos join the training photos: folds by group take their place"
    )


def _declare_photos(draft: Draft, photos: Mapping[str, File], test: Mapping[str, File], roles: Roles) -> None:
    paths = [file.path for file in (*photos.values(), *test.values())]
    _, modes, _ = read_headers(paths)
    deep = set(modes) & _DEEP_MODES
    if deep:
        low, high = measure_range([file.path for file in photos.values()])
        draft.add("16 bits: all but the darkest and brightest thousandth of the pixels", value_range=(low, high))
        draft.notes.append(f"photos have 16 bits: {low} becomes 0 and {high} becomes 255 (value_range)")
    grey = set(modes) & (_GREY_MODES | _DEEP_MODES)
    if grey and len(grey) < len(modes):
        draft.add("grey and coloured photos: " + ", ".join(f"{m} {n}" for m, n in modes.most_common()), channels="any")
    elif grey:
        draft.add(channels="grey")


def _declare_sizes(draft: Draft, files: Sequence[File]) -> SizeHW:
    sizes, _, is_whole = read_headers([file.path for file in files])
    (usual, _), *others = sizes.most_common()
    if not others:
        draft.add(size_hw=usual)
        if not is_whole:
            draft.notes.append(f"sizes: {sum(sizes.values())} of {len(files)} photos were asked; all have one")
    else:
        draft.add(f"photos have {len(sizes)} sizes, most often {usual[0]} x {usual[1]}", size_hw=None)
    return usual


def _declare_groups(
    draft: Draft, ids: Sequence[str], photos: Mapping[str, File], test: Mapping[str, File], tables: Sequence[Table]
) -> None:
    for table in tables:
        columns = find_group_column(table.rows, ids)
        if columns:
            id_column, group_column, _ = columns
            why = f"{table.name} has a column {group_column}"
            draft.add(why, groups_csv=table.name, groups_columns=(id_column, group_column), id_pattern=SINGLE)
            _declare_folds(draft, columns[2])
            return
    grouping = find_grouping(ids)
    if grouping is not None:
        pattern = grouping.pattern
        if not all(re.fullmatch(pattern, id_) for id_ in test):
            draft.notes.append("some test photos' names have no group; they count as groups of their own")
            pattern = re.sub(r"(?<=\(\?P<group>\.\+)\)(.*)", r"?)(?:\1)?", pattern)
        draft.add(f"{grouping.num_groups} groups: {grouping.what}", id_pattern=pattern)
        draft.notes.append(f"groups: {grouping.what}; are they patients, cars, videos?")
        _declare_folds(draft, count_groups(pattern, ids))
        return
    ordered = sort_naturally(ids)
    alikeness = compare_neighbours([photos[id_].path for id_ in ordered])
    is_numbered = all(re.search(r"\d$", id_) for id_ in (*ids, *test))
    if alikeness < _ALIKE and is_numbered and count_groups(BLOCKS, ids) >= 2:
        draft.add("blocks of ten neighbours, which look alike: all but the last digit", id_pattern=BLOCKS)
        draft.doubt(
            "id_pattern",
            f'r"{BLOCKS}"',
            why=f"photos with neighbouring numbers look alike (distance {alikeness:.2f} of that of any two), as "
            f"frames of a video or slices of a volume do: ten neighbours are one group",
            instead=f'r"{SINGLE}", if they are independent; another number of digits',
        )
        _declare_folds(draft, count_groups(BLOCKS, ids))
        return
    draft.add("no group is visible in the names: each photo is its own", id_pattern=SINGLE)
    draft.notes.append(
        "groups: none visible in the names. If photos belong together (a patient, a video), a fold must not part them"
    )
    _declare_folds(draft, len(ids))


def _declare_folds(draft: Draft, num_groups: int) -> None:
    folds = max(min(_FOLDS, num_groups), 2)
    draft.add(num_folds=folds)
    if num_groups < 2 * _FOLDS:
        draft.doubt(
            "num_folds",
            str(folds),
            why=f"there are {num_groups} groups only: folds are uneven, and scores uncertain",
            instead="an id_pattern with smaller groups, if these do not leak",
        )


def _leave_out(draft: Draft, sets: Sequence[PictureSet], roles: Roles) -> None:
    """Names sets that the patterns would find beside their own files."""
    patterns = [draft.fields[name] for name in ("photos", "test_photos") if draft.fields.get(name)]
    kept = [s for s in (roles.train.photos if roles.train else None, roles.train.masks if roles.train else None) if s]
    kept += [s for s in (roles.test, roles.val.photos if roles.val else None) if s]
    own = {file.name for s in kept for files in s.files.values() for file in files}
    extra = []
    for s in sets:
        names = {file.name for files in s.files.values() for file in files}
        if not names & own and any(_fits(pattern, name) for pattern in patterns for name in names):
            extra.append(s.pattern)
    if extra and roles.train is not None:
        draft.add("their names fit the patterns above, too", leave_out=tuple(sorted(extra)))


def _fits(pattern: str, name: str) -> bool:
    escaped = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\{id\}", "[^/]+")
    escaped = re.sub(r"\\\{([^{}]*)\\\}", lambda m: "(?:" + m[1].replace(",", "|") + ")", escaped)
    return re.fullmatch(escaped, name) is not None


def _count(draft: Draft, ids: Sequence[str]) -> int:
    return count_groups(draft.fields["id_pattern"], ids)


def _order(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Puts fields into the schema's order, and leaves out defaults that nobody needs to read."""
    shown = {"photos", "masks", "test_photos", "id_pattern", "size_hw", "classes", "mask_values", "metric", "num_folds"}
    model = DatasetConfig.model_fields
    return {
        name: fields[name]
        for name in model
        if name in fields and (name in shown or fields[name] != model[name].default)
    }
