"""No group on two sides, folds alike in size and in objects, and a file that is checked whenever it is read."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unets.config import load_dataset
from unets.data.samples import read_mask
from unets.dataset.checks import MaskFacts, check_data
from unets.dataset.folds import measure_masks, read_folds, split_groups, write_folds
from unets.dataset.manifest import Manifest, read_manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import hash_file

MakeCompetition = Callable[..., Project]


def load(project: Project) -> Manifest:
    return read_manifest(project, load_dataset(project.configs_dir))


@given(
    areas=st.lists(st.floats(0, 1), min_size=2, max_size=60),
    num_folds=st.integers(2, 7),
    seed=st.integers(0, 2**32),
)
def test_each_group_in_one_fold_and_sizes_differ_by_one(areas: list[float], num_folds: int, seed: int) -> None:
    groups = {f"g{index}": area for index, area in enumerate(areas)}
    if len(groups) < num_folds:
        with pytest.raises(InputError, match=r"`num_folds` must be at most the number of groups"):
            split_groups(groups, num_folds, seed)
        return
    folds = split_groups(groups, num_folds, seed)
    assert folds.keys() == groups.keys()
    sizes = Counter(folds.values())
    assert set(sizes) == set(range(num_folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize("num_objects", [1, 2, 3])
@pytest.mark.parametrize("sizes", [None, {f"g{index}": 1 + index % 2 for index in range(15)}])
def test_the_first_fold_has_objects_inside_and_outside(num_objects: int, sizes: dict[str, int] | None) -> None:
    groups = {f"g{index}": 0.1 * (index < num_objects) for index in range(15)}
    for seed in range(10):
        folds = split_groups(groups, 5, seed, sizes=sizes)
        found = {folds[f"g{index}"] for index in range(num_objects)}
        assert found == ({4} if len(found) == 1 else set(range(len(found))))  # of one alone, fold 0 trains on it


def test_a_single_group_cannot_be_split_and_a_fold_without_objects_is_said(
    make_competition: MakeCompetition, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=r"must be of two groups at least.* Received: one, p1"):
        split_groups({"p1": 0.1}, 2, 0)
    project = make_competition(num_groups=2, num_views=1)
    manifest = load(project)
    facts = dict(zip((s.id for s in manifest.train), (MaskFacts(0.1, (0,)), MaskFacts(0.0, ())), strict=True))
    with patch("unets.dataset.folds.measure_masks", return_value=facts):
        folds = write_folds(project, manifest)
    assert "fold 0: no image has an object" in caplog.text
    assert "all images with car are in fold 1, whose net cannot learn it" in caplog.text
    assert list(folds.values()) == [1, 0]  # the only object is trained on
    assert split_groups({"many": 0.1, "few": 0.1}, 2, 0, sizes={"many": 9, "few": 1}) == {"many": 1, "few": 0}


def test_fold_means_lie_close_together_and_depend_on_the_seed_alone() -> None:
    # 318 cars with shares of 0.09 to 0.41 (Carvana's), 5 folds. Split blindly, the mean of a fold of 64 would stray by
    # 0.092 / sqrt(64) = 0.0115; in blocks, two folds differ by a fraction of one block's width, 0.32 / 64 = 0.005.
    rng = np.random.default_rng(0)
    groups = {f"g{index}": float(area) for index, area in enumerate(rng.uniform(0.09, 0.41, 318))}
    shuffled = dict(sorted(groups.items(), key=lambda item: item[1]))
    for seed in range(10):
        folds = split_groups(groups, 5, seed)
        means = [np.mean([groups[group] for group in groups if folds[group] == fold]) for fold in range(5)]
        assert max(means) - min(means) < 0.005
        assert folds == split_groups(shuffled, 5, seed) != split_groups(groups, 5, seed + 1)


@pytest.mark.parametrize("seed", range(2))
def test_groups_of_several_sizes_give_folds_of_like_many_images(seed: int) -> None:
    sizes = {f"g{index}": size for index, size in enumerate([40, 30, 20, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1])}
    groups = {group: index % 7 / 10 for index, group in enumerate(sizes)}
    folds = split_groups(groups, 3, seed, sizes=sizes)
    assert folds == split_groups(groups, 3, seed, sizes=sizes) and folds.keys() == groups.keys()
    images = [sum(sizes[group] for group in groups if folds[group] == fold) for fold in range(3)]
    assert min(images) > 30, images  # of 148, where the largest group alone has 40


def test_a_fold_of_next_to_no_images_is_refused_and_a_small_one_is_said(
    make_competition: MakeCompetition, caplog: pytest.LogCaptureFixture
) -> None:
    project = make_competition(num_groups=2, num_views=12)
    manifest = load(project)
    lonely = (replace(manifest.train[0], group="alone"), *(replace(s, group="all") for s in manifest.train[1:]))
    with pytest.raises(InputError, match=r"comparable size.* Received: \[(1, 23|23, 1)\]"):
        write_folds(project, replace(manifest, train=lonely))
    assert not project.folds_path.exists()
    few = tuple(replace(s, group="few" if index < 5 else "all") for index, s in enumerate(manifest.train))
    write_folds(project, replace(manifest, train=few))
    assert "folds have [5, 19] images" in caplog.text or "folds have [19, 5] images" in caplog.text


def test_a_file_is_written_once_and_then_kept_in_any_dialect(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=5)
    manifest = load(project)
    folds = write_folds(project, manifest)
    assert folds == read_folds(project.folds_path, manifest)
    assert list(folds) == [sample.id for sample in manifest.train]
    header, *rows = project.folds_path.read_text().splitlines()
    assert header == "id,group,fold" and rows[0].startswith("car000_01,car000,") and len(rows) == 5 * 4
    # written by hand: folds 0 and 1 change places, with another program's line ends
    swapped = [f"{line[:-1]}{1 - int(line[-1])}" for line in rows]
    project.folds_path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([header, *swapped, ""]).encode())
    before = hash_file(project.folds_path)
    assert write_folds(project, manifest) == {id_: 1 - fold for id_, fold in folds.items()}
    assert hash_file(project.folds_path) == before


def test_what_masks_hold_from_masks_or_from_the_record(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=4)
    manifest = load(project)
    facts = measure_masks(project, manifest)
    assert facts == {sample.id: (float(read_mask(sample).mean()), (0,)) for sample in manifest.train}
    check_data(project, manifest.dataset)
    for sample in manifest.train:
        sample.mask_paths[0].write_bytes(b"the record is used")
    assert measure_masks(project, manifest) == facts


GOOD = [f"car00{group}_0{view},car00{group},{group % 2}" for group in range(2) for view in (1, 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], r"must have each training id. Received: none for car001_02 \(1 missing in all\)"),
        ([*GOOD, GOOD[0]], r"must have each id once. Received: car000_01 twice"),
        ([*GOOD, "car009_01,car009,0"], r"must have training ids only. Received: car009_01,car009,0"),
        (["car000_01,car001,0", *GOOD[1:]], r"must have group car000 for car000_01"),
        (["car000_01,car000,1", *GOOD[1:]], r"group in one fold, .*: group car000 in folds 1 and 0"),
        ([*GOOD[:3], "car001_02,car001,2"], r"with a fold of 0 to 1. Received: .*'2'"),
        ([*GOOD[:3], "car001_02,car001,-1"], r"with a fold of 0 to 1. Received: .*'-1'"),
        ([*GOOD[:3], "car001_02,car001"], r"must have 3 cells a row"),
        ([line[:-1] + "0" for line in GOOD], r"must have images in each of 2 folds. Received: none in \[1\]"),
        (b"id,fold\n", r"must have the columns \['id', 'group', 'fold'\]. Received: \['id', 'fold'\]"),
        ("id,group,fold\n".encode("utf-16"), r"must be a csv in UTF-8\."),
    ],
)
def test_faulty_files(make_competition: MakeCompetition, content: list[str] | bytes, message: str) -> None:
    project = make_competition(num_groups=2, num_views=2)
    manifest, path = load(project), project.folds_path
    with pytest.raises(InputError, match=r"folds.csv must exist: `unets split` writes it"):
        read_folds(path, manifest)
    path.write_text("\n".join(["id,group,fold", *GOOD]) + "\n")
    assert len(read_folds(path, manifest)) == 4
    path.write_bytes(content if isinstance(content, bytes) else "\n".join(["id,group,fold", *content, ""]).encode())
    for read in (lambda: read_folds(path, manifest), lambda: write_folds(project, manifest)):
        with pytest.raises(InputError, match=f"{message}.* Delete the file to split again"):
            read()
