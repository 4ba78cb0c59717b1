"""Roles: which set of pictures is the training photos, which their masks, which is for validation or testing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unets.dataset.layout.looks import Look
from unets.dataset.layout.sets import PictureSet, align
from unets.errors import InputError

_LEAST_MATCHED = 0.5  # of the photos or of the masks must find each other


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Photos and their masks, with ids that agree."""

    photos: PictureSet
    masks: PictureSet

    @property
    def ids(self) -> list[str]:
        """Ids that both have, sorted."""
        return sorted(self.photos.files.keys() & self.masks.files.keys())

    @property
    def split(self) -> str:
        """train, val, test, or empty."""
        return self.photos.split or self.masks.split


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """What each set is for; those of no use stand in `unused` with the reason."""

    train: Pair | None  # None: masks are to be found in a csv
    val: Pair | None = None
    test: PictureSet | None = None
    test_masks: PictureSet | None = None
    photos: tuple[PictureSet, ...] = ()  # without masks; for a csv
    unused: Mapping[str, str] = field(default_factory=dict)  # reason by pattern
    others: tuple[Pair, ...] = ()  # that could have been training photos, too


def deal_roles(sets: Sequence[PictureSet], looks: Mapping[str, Look]) -> Roles:
    """Pairs photos with masks and tells training from testing.

    Args:
        sets: all sets.
        looks: what each holds, by its pattern.

    Raises:
        InputError: there are no photos at all, or masks without photos alone.
    """
    unused = {s.pattern: "made from other photos, as its name says" for s in sets if s.is_derived}
    useful = [s for s in sets if not s.is_derived]
    masks = [s for s in useful if _is_mask(s, looks[s.pattern])]
    photos = [s for s in useful if s not in masks and not s.has_several]
    if not photos:
        seen = ", ".join(f"{s.pattern} ({len(s.files)})" for s in sets)
        raise InputError(f"`INPUT` must hold photos, and masks beside them or in a csv. Received: {seen}")
    pairs = pair_sets(photos, masks)
    alone = [s for s in photos if not any(_is_same(s, pair.photos) for pair in pairs)]
    unused |= {s.pattern: "masks of no photos" for s in masks if not any(_is_same(s, pair.masks) for pair in pairs)}
    if not pairs:
        return Roles(train=None, photos=tuple(alone), unused=unused)
    train = _choose_train(pairs)
    rest = [pair for pair in pairs if pair is not train]
    val = next((pair for pair in rest if pair.split == "val"), None)
    tested = next((pair for pair in rest if pair.split == "test"), None)
    test = tested.photos if tested else _choose_test(alone)
    others = tuple(pair for pair in rest if pair is not val and pair is not tested)
    unused |= {s.pattern: "photos without masks" for s in alone if test is None or not _is_same(s, test)}
    return Roles(
        train=train,
        val=val,
        test=test,
        test_masks=tested.masks if tested else None,
        photos=tuple(alone),
        unused=unused,
        others=others,
    )


def pair_sets(photos: Sequence[PictureSet], masks: Sequence[PictureSet]) -> list[Pair]:
    """Pairs each set of masks with the photos it fits best; each set is used once."""
    found: list[tuple[tuple[bool, int, int, int], int, Pair, PictureSet, PictureSet]] = []
    for mask_set in masks:
        for photo_set in photos:
            if photo_set.split and mask_set.split and photo_set.split != mask_set.split:
                continue
            pair = Pair(**dict(zip(("photos", "masks"), align(photo_set, mask_set), strict=True)))
            matched = len(pair.ids)
            if matched >= _LEAST_MATCHED * min(len(photo_set.files), len(mask_set.files)) and matched:
                same_split = photo_set.split == mask_set.split
                near = _count_shared_folders(photo_set.folder, mask_set.folder)
                extra = abs(len(photo_set.files) - len(mask_set.files))
                found.append(((same_split, matched, near, -extra), len(found), pair, photo_set, mask_set))
    pairs: list[Pair] = []
    taken: list[PictureSet] = []
    for _, _, pair, photo_set, mask_set in sorted(found, key=lambda item: (item[0], -item[1]), reverse=True):
        if photo_set not in taken and mask_set not in taken:
            pairs.append(pair)
            taken += [photo_set, mask_set]
    return pairs


def join_patterns(first: str, second: str) -> str | None:
    """Returns one pattern for both, `{a,b}` where one folder or word differs; None where more does."""
    parts, others = first.split("/"), second.split("/")
    if len(parts) != len(others):
        return None
    differing = [place for place, (a, b) in enumerate(zip(parts, others, strict=True)) if a != b]
    if len(differing) != 1 or any("{" in text[differing[0]] or "," in text[differing[0]] for text in (parts, others)):
        return None
    place = differing[0]
    return "/".join([*parts[:place], f"{{{parts[place]},{others[place]}}}", *parts[place + 1 :]])


def _is_mask(pictures: PictureSet, look: Look) -> bool:
    """Tells masks from photos: by what they hold and, where that leaves it open, by their name."""
    if look.looks_like_masks:
        # A photo of few values, as a drawing, is told by its name alone.
        return not (pictures.words & {"image", "images", "photo", "photos"} and not pictures.is_called_mask)
    return pictures.is_called_mask and (look.is_deep or pictures.has_several or not look.is_coloured)


def _choose_train(pairs: Sequence[Pair]) -> Pair:
    order = {"train": 0, "": 1, "val": 2, "test": 3}
    return min(pairs, key=lambda pair: (order[pair.split], -len(pair.ids)))


def _choose_test(alone: Sequence[PictureSet]) -> PictureSet | None:
    """Chooses test photos among photos without masks: those called so, else the only ones."""
    called = [s for s in alone if s.split == "test"]
    if called:
        return max(called, key=lambda s: len(s.files))
    return alone[0] if len(alone) == 1 else None


def _is_same(one: PictureSet, other: PictureSet) -> bool:
    """Tells whether two are of the same files, whatever their ids."""
    first, second = ({files[0].name for files in s.files.values()} for s in (one, other))
    return first == second


def _count_shared_folders(first: str, second: str) -> int:
    count = 0
    for one, other in zip(first.split("/"), second.split("/"), strict=False):
        if one != other:
            break
        count += 1
    return count
