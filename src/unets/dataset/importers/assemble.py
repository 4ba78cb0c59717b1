"""Assembling: images and masks complete an `Import`: ids, groups, what images are like, an account of the files."""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unets.config import SizeHW
from unets.data.files import read_bytes
from unets.data.pixels import DEEP, Header, decode, read_values
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.draws import Stretched, merge_layers
from unets.dataset.importers.edges import measure_fit, read_colors
from unets.dataset.importers.groups import find_groups
from unets.dataset.importers.listing import UNSUPPORTED, Listing, ending, stem_of
from unets.dataset.importers.names import list_some, spread
from unets.errors import InputError

_MOST_HEADERS = 3000  # a header takes 0.1 to 1 ms
_LOOKED_AT = 12  # images whose pixels are read
_SLACK = 0.02  # share of a side by which a mask may differ from its image, and be stretched to it
_MOST_CHANNELS = 12


def assemble(found: Import, samples: Iterable[ImportedSample], *, has_groups: bool = False) -> Import:
    """Completes what an importer found by names, groups and sizes of its samples, and an account of all files.

    Groups are looked for, unless samples have them. Raises InputError: there are too few training images, an id comes
    twice, files cannot be read, or masks have another size than their images.
    """
    listing, source, given = found.listing, found.source, {sample.image: sample for sample in samples}
    train = {image: sample for image, sample in given.items() if sample.draw}
    if len(train) < 2:
        raise InputError(
            f"a data set must have at least 2 training images with masks, to be split. Received: {len(train)}"
            + (f", {next(iter(train))}" if train else "")
        )
    chosen: Iterable[str] = given if source.test_images is None else select(listing.rasters, source.test_images)
    test = sorted(set(chosen) - train.keys())
    headers = _read_headers(listing, [*train, *test])
    found.fields = _describe_images(found, headers, train) | found.fields
    train = _fit_sizes(found, train, headers)
    named = _name_samples([*train.values(), *(given.get(image, ImportedSample(image=image)) for image in test)])
    if not has_groups or source.group is not None:
        groups = find_groups(found, named)
        parted = ((sample, groups.get(sample.image, ("", ""))) for sample in named)
        named = [replace(sample, group=group, view=view) for sample, (group, view) in parted]
    found.samples = tuple(sorted(named, key=lambda sample: sample.id))
    found.account |= dict.fromkeys(train, "image") | dict.fromkeys(test, "test image")
    found.account = _complete_account(listing, found.account)
    return found


def list_rasters(found: Import) -> list[str]:
    """Lists the images and masks that `source.leave_out` leaves in; accounts for the others."""
    left = set(select(found.listing.rasters, found.source.leave_out))
    found.leave(left, "as `source.leave_out` says")
    return [path for path in found.listing.rasters if path not in left]


def select(paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Returns the paths that fit one of the patterns, in which `*` stands for anything, `/` too."""
    return [path for path in paths if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]


def _complete_account(listing: Listing, account: Mapping[str, str]) -> dict[str, str]:
    """Says of every file of INPUT what became of it; `account` says it of some."""
    full, rasters = {path: f"left out: {why}" for path, why in listing.left_out.items()}, set(listing.rasters)
    for path in listing.paths:
        why = "no image of this data set" if path in rasters else "neither image nor mask"
        full[path] = account.get(path, f"left out: {UNSUPPORTED.get(ending(path), why)}")
    return full


def _name_samples(samples: Sequence[ImportedSample]) -> list[ImportedSample]:
    """Gives those without an id the stem of their image where stems are unique, else its path without ending."""
    ids = {sample.image: stem_of(sample.image) for sample in samples}
    if len(set(ids.values())) < len(ids):
        ids = {image: image.rpartition(".")[0] for image in ids}
    named = [replace(sample, id=sample.id or ids[sample.image]) for sample in samples]
    id_, count = Counter(sample.id for sample in named).most_common(1)[0]
    if count > 1:
        paths = ", ".join(sample.image for sample in named if sample.id == id_)
        raise InputError(f"each image must have a name of its own. Received: {paths}; rename or remove one")
    return named


def _describe_images(
    found: Import, headers: Mapping[str, Header], train: Mapping[str, ImportedSample]
) -> dict[str, Any]:
    """Returns what images are like, as fields of DatasetConfig: channels, value_range, orientation, size_hw."""
    listing, facts = found.listing, dict[str, Any]()
    looked = spread([path for path in train if path in headers], _LOOKED_AT)
    bands = {_count_bands(listing, path, headers[path]) for path in looked}
    bands |= {header.channels for header in headers.values() if header.mode == "array"}
    most = max(bands)
    if most > _MOST_CHANNELS or (len(bands) > 1 and (most > 3 or 2 in bands)):
        shown = ", ".join(f"{n} ({p})" for n, p in {headers[p].channels: p for p in looked}.items())
        raise InputError(f"all images must have one number of channels, up to {_MOST_CHANNELS}. Received: {shown}")
    if bands == {1}:
        facts["channels"] = "grey"
    elif most > 3 or 2 in bands:
        facts["channels"] = most
        found.ask("channels", f"images have {most} channels, all of which are read", '"rgb" for the first three')
    deep = [path for path, header in headers.items() if header.dtype not in ("uint8", "bool")]
    if deep:
        paths = spread([path for path in deep if path in train] or deep, 4 * _LOOKED_AT)
        pixels = np.concatenate([np.ravel(read_values(listing.root / path))[::7] for path in paths])
        low, high = np.quantile(pixels[np.isfinite(pixels)].astype(np.float64), [0.001, 0.999])
        if pixels.dtype.kind in "ui":
            low, high = np.floor(low), np.ceil(high)
        facts["value_range"] = (float(low), float(high if high > low else low + 1))
    turned = [path for path in train if path in headers and headers[path].orientation != 1]
    if turned:
        facts["orientation"] = _find_orientation(found, turned, headers, train)
    sizes = {_find_size(header, facts) for header in headers.values()}
    facts["size_hw"] = sizes.pop() if len(sizes) == 1 else None
    return facts


def _count_bands(listing: Listing, path: str, header: Header) -> int:
    """Returns 1 for grey, 3 for color with or without opacity, else the number of bands."""
    if header.channels == 4 and header.mode in ("RGBA", DEEP) and ending(path) == ".tif":
        opacity = decode(read_bytes(listing.root / path), listing.root / path)[..., 3]
        return 3 if (opacity == opacity[0, 0]).all() else 4
    known = {"LA": 1, "P": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3, DEEP: 3}
    return known.get(header.mode, header.channels)


def _find_size(header: Header, facts: Mapping[str, Any]) -> SizeHW:
    return header.upright_hw if facts.get("orientation") == "upright" else header.size_hw


def _find_orientation(
    found: Import, turned: Sequence[str], headers: Mapping[str, Header], train: Mapping[str, ImportedSample]
) -> str:
    """Decides by sizes, or by edges, whether masks lie over images as they are stored, or as EXIF turns them."""
    votes: Counter[str] = Counter()
    for path in turned:
        header, size_hw = headers[path], train[path].size_hw
        if size_hw is not None and header.upright_hw != header.size_hw:
            is_exact = size_hw in (header.upright_hw, header.size_hw)
            for name, image_hw in (("upright", header.upright_hw), ("stored", header.size_hw)):
                votes[name] += size_hw == image_hw if is_exact else _are_alike(size_hw, image_hw)
    if not any(votes.values()):
        for path in spread(turned, _LOOKED_AT):
            (mask_hw,), place = merge_layers(train[path].read_layers(True)), found.listing.root / path
            fits = {up: measure_fit(mask_hw, read_colors(place, upright=up)) for up in (True, False)}
            votes["upright"] += fits[True] > 1.15 * fits[False]
            votes["stored"] += fits[False] > 1.15 * fits[True]
    chosen = "stored" if votes["stored"] > votes["upright"] else "upright"
    if min(votes["stored"], votes["upright"]) > 0 or not any(votes.values()):
        text = (
            f"{len(turned)} images have an EXIF tag that turns them; masks fit them {chosen} "
            f"(undecided: {votes['upright']} upright, {votes['stored']} stored)"
        )
        found.ask("orientation", text, '"upright"', '"stored"')
    return chosen


def _fit_sizes(
    found: Import, train: Mapping[str, ImportedSample], headers: Mapping[str, Header]
) -> dict[str, ImportedSample]:
    """Stretches masks that differ from their images by a few pixels, or by scale where `found.source` allows it.

    That says afterwards whether some were stretched by that leave. Raises InputError: others are there.
    """
    fitted, near, scaled, far = dict(train), list[str](), list[str](), list[str]()
    for path, sample in train.items():
        image_hw, mask_hw = _find_size(headers[path], found.fields) if path in headers else None, sample.size_hw
        if sample.draw is None or mask_hw is None or image_hw is None or image_hw == mask_hw:
            continue
        gaps = [abs(a - b) / b for a, b in zip(mask_hw, image_hw, strict=True)]
        kind = near if max(gaps) <= _SLACK else scaled if _are_alike(mask_hw, image_hw) else far
        kind.append("{} ({} x {}, its mask {} x {})".format(path, *image_hw, *mask_hw))
        draw = Stretched(sample.draw, image_hw, found.source.has_shares)
        fitted[path] = replace(sample, draw=draw, mask=(), size_hw=image_hw)
    if refused := far + scaled * (not found.source.stretch_masks):
        words = "; or set source.stretch_masks=True in dataset.py, which stretches {} that have its proportions"
        hint = words.format(len(scaled)) if scaled else ""
        raise InputError(
            f"a mask must have its image's size. Received: {len(refused)} of {len(train)} that have not: "
            f"{list_some(refused, '; ')}. Resize the masks (nearest neighbor) or the images, or leave these files out"
            f"{hint}"
        )
    if scaled:
        text = (
            f"{len(scaled)} of {len(train)} masks have another size than their images, and the same proportions. They "
            f"are refused until you resize them, or allow to stretch them: {list_some(scaled, '; ')}"
        )
        found.ask("source.stretch_masks", text, "True, to stretch them")
    if near:
        text = f"{len(near)} masks differ from their image by a few pixels, and are stretched to it: "
        found.ask("source.leave_out", text + list_some(near, "; "), "patterns of these files", at_imports=True)
    found.source = found.source.model_copy(update={"stretch_masks": bool(scaled)})
    return fitted


def _are_alike(one: SizeHW, other: SizeHW) -> bool:
    """Tells whether the sizes have the same proportions, within a pixel of the smaller."""
    (height, width), (large_height, large_width) = sorted((one, other))
    scaled = abs(large_width * height / large_height - width), abs(large_height * width / large_width - height)
    return min(scaled) <= 1


def _read_headers(listing: Listing, images: Sequence[str]) -> dict[str, Header]:
    """Reads the headers of images, of very many of some; names all that cannot be read."""
    headers, broken = {}, []
    for path in spread(images, _MOST_HEADERS):
        try:
            headers[path] = listing.header(path)
        except InputError as error:
            broken.append(str(error).replace(f"{listing.root}/", ""))
    if broken:
        raise InputError(
            f"every image must be readable. Received: {len(broken)} that are not: {list_some(broken, '; ')}. "
            "Repair or remove these files"
        )
    return headers
