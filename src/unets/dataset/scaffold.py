"""The scaffold: a folder is looked at, and a data set's config files are written, with questions as comments.

Nothing is written before all of it was built, loaded and read back: the config from its own text, every image with its
mask by that config, some masks pixel by pixel.
"""

import ast
import logging
import re
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.pretty import pretty_repr

import unets.config
from unets.config import (
    Config,
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    SizeHW,
    SubmissionConfig,
    describe,
    load_dataset,
)
from unets.data.samples import HALF
from unets.dataset.first_experiments import (
    Cost,
    Facts,
    Machine,
    Objects,
    Proposal,
    has_card,
    look_at_machine,
    measure_objects,
    propose_experiments,
)
from unets.dataset.importers.base import Import, Question
from unets.dataset.importers.class_lists import parse_class_list
from unets.dataset.importers.draws import Value
from unets.dataset.importers.listing import Listing, list_input
from unets.dataset.importers.names import spread
from unets.dataset.importers.search import choose, read
from unets.dataset.manifest import check_names, read_source
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import write_text

logger = logging.getLogger(__name__)

Timer = Callable[[DatasetConfig, ExperimentConfig], Cost]

_WIDTH = 120
_FOLDS = 5
_DRAWN = 8  # masks that are drawn twice, and compared
_MEASURED_PX, _MOST_MEASURED = 200_000_000, 256  # of masks whose objects are measured: seconds
_SHOWN = frozenset(("source", "classes", "size_hw", "metric", "num_folds"))  # though at their defaults


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaffold:
    """What was found in a folder, and written for it."""

    dataset: DatasetConfig
    result: Import  # what it reads, and asks
    image_hw: SizeHW  # that is typical of the images, see `find_typical_size`
    num_sizes: int  # that images have
    proposals: tuple[Proposal, ...]

    @property
    def questions(self) -> Sequence[Question]:
        """What the files do not settle."""
        return self.result.questions

    @property
    def counts(self) -> str:
        """How many images there are, in words."""
        splits = Counter(sample.split for sample in self.result.samples)
        groups = len({sample.group or sample.id for sample in self.result.samples if sample.split == "train"})
        size = f"{self.image_hw[0]} x {self.image_hw[1]} pixels"
        size = size if self.num_sizes == 1 else f"of several sizes, typically {size}"
        return (
            f"{splits['train']} training and {splits['test']} test images, {size}, {groups} group{'s'[: groups != 1]}"
        )


def write_scaffold(
    project: Project,
    *,
    classes_path: Path | None = None,
    minutes: float | None = None,
    timer: Timer | None = None,
    force: bool = False,
    ask_gpu: Callable[[], bool] = has_card,
) -> Scaffold:
    """Looks at `project.input_dir` and writes dataset.py, one or two experiments, and ensemble.py.

    A dataset.py that is there stays, where `force` is given, and tells how the folder is read; experiments of the same
    names and ensemble.py are then written over. `classes_path` names the classes, see `parse_class_list`; `minutes` are
    for training a fold; `timer` measures a step of training on this machine, None: it is guessed; `ask_gpu` tells
    whether nets can be trained on a GPU, by default whether there is a card.

    Raises InputError: the name is none, the config folder is there already, no importer reads the folder rightly, or
    the dataset.py that is there does not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", project.competition):
        raise InputError(f"`--name` must be of letters, digits, `_` and `-`. Received: {project.competition!r}")
    name, folder, class_names = project.competition, project.configs_dir, _read_class_list(classes_path)
    if is_kept := (folder / "dataset.py").exists():
        if not force:
            raise _refuse(folder / "dataset.py")
        dataset, result = _read_kept(project, has_class_list=bool(class_names))
    else:
        dataset, result = _find_dataset(replace(list_input(project.input_dir), class_names=class_names))
    machine = look_at_machine(ask_gpu)
    scaffold = _propose(dataset, result, machine, minutes=minutes, timer=timer)
    texts = {p.name: write_experiment_text(name, p, on_gpu=machine.has_gpu) for p in scaffold.proposals}
    ensemble = EnsembleConfig(experiments=tuple(proposal.name for proposal in scaffold.proposals))
    texts["ensemble"] = _write_module([f"What a submission for {name} is made of."], ensemble, {})
    # The last makes it a data set: what a kill leaves before is no obstacle to the next call.
    if not is_kept:
        texts["dataset"] = _write_dataset(name, scaffold)
        _check_text(texts["dataset"], scaffold.dataset)
    paths = {folder / f"{stem}.py": text for stem, text in texts.items()}
    for path, text in paths.items():
        if path.exists() and path.read_text(encoding="utf-8") != text and not force:
            raise _refuse(path)
    for path, text in paths.items():
        what = "written over" if path.exists() else "new"
        write_text(path, text)
        logger.info("%s (%s)", path, what)
    if is_kept:
        logger.info("%s (kept; where it is removed, a new one is written)", folder / "dataset.py")
    return scaffold


def _read_kept(project: Project, *, has_class_list: bool) -> tuple[DatasetConfig, Import]:
    """Loads the dataset.py that is there, and reads INPUT by it; what it asks was answered. Raises InputError."""
    path = project.configs_dir / "dataset.py"
    remedy = "Mend it, or remove it: a new one is written then"
    if has_class_list:
        raise InputError(
            f"`--classes` must come with a dataset.py that is written. Received: {path} is there. {remedy}"
        )
    try:
        dataset = load_dataset(project.configs_dir)
        result = read_source(project, dataset)
    except InputError as error:
        raise InputError(f"{path} must load and read `--input`. Received: {error}. {remedy}") from error
    result.questions.clear()
    return dataset, result


def _find_dataset(listing: Listing) -> tuple[DatasetConfig, Import]:
    """Finds a data set's config, without writing anything; see `write_scaffold`."""
    result = choose(listing)
    check_names(result.samples)
    groups = {sample.group or sample.id for sample in result.train.values()}
    fields = {name: value for name, value in result.fields.items() if name != "submission"}
    submission, has_classes = SubmissionConfig(**result.fields["submission"]), len(result.classes) > 1
    if has_classes and submission.sample and not submission.names_classes:
        text = f"{submission.sample} does not tell the classes apart: there is no submission until this is settled"
        result.ask("submission", text, "sample=..., class_column=... or cell=...")
        submission = SubmissionConfig(sample=None)
    if has_classes and not submission.sample and not submission.names_classes:
        row = submission.row if "row" in submission.model_fields_set else "class"
        submission = submission.model_copy(update={"class_column": "class", "row": row})
    looked = spread(list(result.train.values()), _DRAWN)
    if submission.row == "object" and not any(
        sample.read_layers(result.overlapping, numbered=True) for sample in looked
    ):
        text = "ap counts connected parts where masks do not tell objects apart: where many touch, scores are too good"
        result.ask("metric", text, '"dice"')
    if len(groups) < 2 * _FOLDS:
        text = f"there are {len(groups)} groups only: folds are uneven, and scores uncertain"
        if len(groups) == 1:
            text = "all images are of one group, and nothing can be trained where none can be held out"
        result.ask("num_folds", text, "smaller groups, if these do not leak")
    try:
        dataset = DatasetConfig(
            source=result.source,
            classes=result.classes,
            overlapping=result.overlapping,
            metric=_choose_metric(submission, has_classes),
            num_folds=max(min(_FOLDS, len(groups)), 2),
            submission=submission,
            **fields,
        )
    except ValidationError as error:
        raise InputError(f"the config of {listing.root} must be valid. Received: {describe(error)}") from error
    _check_by_config(listing, result)
    if result.source.stretch_masks:  # the user's to allow
        dataset = dataset.model_copy(update={"source": result.source.model_copy(update={"stretch_masks": False})})
    return dataset, result


def _choose_metric(submission: SubmissionConfig, has_classes: bool) -> str:
    """Returns AP for rows of objects, Dice for what Kaggle asks for, mean IoU over all pixels for classes otherwise.

    By the Dice or IoU of single images, a class that an image lacks counts 1 until a pixel of it is predicted: a net
    that finds no rare class has the better score.
    """
    if submission.row == "object":
        return "ap"
    return "global_iou" if has_classes and not submission.sample else "dice"


def _propose(
    dataset: DatasetConfig, result: Import, machine: Machine, *, minutes: float | None, timer: Timer | None
) -> Scaffold:
    """Proposes experiments for a data set; see `write_scaffold`."""
    headers = [result.listing.header(sample.image) for sample in spread(result.samples, 3000)]
    is_upright = dataset.orientation == "upright"
    sizes = Counter(header.upright_hw if is_upright else header.size_hw for header in headers)
    image_hw = find_typical_size(sizes)
    if has_card() and not machine.has_gpu:
        logger.warning(
            "the NVIDIA card of this machine cannot be used, so experiments are for its cores: install the backend "
            "with CUDA (`make setup GPU=1`, pip install '.[gpu]', or for JAX 'jax[cuda13]'), docs/how-to/gpus.md"
        )
    facts = Facts(
        image_hw=image_hw,
        num_train=len(result.train),
        num_folds=dataset.num_folds,
        is_grey=dataset.channels == "grey",
        objects=_measure(dataset, result, image_hw),
    )
    proposals = propose_experiments(facts, machine, minutes=minutes, timer=partial(timer, dataset) if timer else None)
    return Scaffold(dataset=dataset, result=result, image_hw=image_hw, num_sizes=len(sizes), proposals=tuple(proposals))


def _measure(dataset: DatasetConfig, result: Import, image_hw: SizeHW) -> Objects:
    """Measures the objects of as many masks as some seconds allow; see `measure_objects`."""
    most = min(max(_MEASURED_PX // (image_hw[0] * image_hw[1]), _DRAWN), _MOST_MEASURED)
    drawn = (result.read_layers(sample) for sample in spread(list(result.train.values()), most))
    if dataset.has_shares:
        drawn = (tuple((layer >= HALF).astype(np.uint8) for layer in layers) for layers in drawn)
    return measure_objects(layers[0] if len(layers) == 1 else np.stack(layers, axis=-1) for layers in drawn)


def find_typical_size(sizes: Counter[SizeHW]) -> SizeHW:
    """Returns the (height, width) that most images have; where no size has half of them, the median of each side."""
    (size_hw, count), *_ = sizes.most_common(1)
    if 2 * count >= sizes.total():
        return size_hw
    height, width = (int(np.median(sides)) for sides in zip(*sizes.elements(), strict=True))
    return height, width


def _check_by_config(listing: Listing, found: Import) -> None:
    """Reads INPUT by the options that are written, and compares with what was found.

    Raises:
        InputError: images, classes or masks differ.
    """
    again = read(listing, found.source)
    one, other = ({s.id: (s.split, s.image, s.group) for s in result.samples} for result in (found, again))
    if one != other or len(again.classes) != len(found.classes) or again.overlapping != found.overlapping:
        differing = [id_ for id_ in {**one, **other} if one.get(id_) != other.get(id_)]
        raise InputError(
            f"a config must read {listing.root} as it was read before. Received: {len(differing)} images that differ, "
            f"{differing[:3]}. Describe the images in a table samples.csv (id,split,image,mask)"
        )
    samples = {sample.id: sample for sample in again.samples}
    for sample in spread(list(found.train.values()), _DRAWN):
        first, second = found.read_layers(sample), again.read_layers(samples[sample.id])
        highest = 1 if found.overlapping else len(found.classes)
        for layer, same in zip(first, second, strict=True):
            wrong = set(np.unique(layer).tolist()) - {*range(highest + 1), 255}
            if not np.array_equal(layer, same) or wrong:
                raise InputError(f"the mask of {sample.image} must hold 0 to {highest}. Received: also {sorted(wrong)}")


def _read_class_list(path: Path | None) -> dict[Value, str]:
    if path is None:
        return {}
    names = parse_class_list(path.name, path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    if not names:
        raise InputError(f"`--classes` must be a csv, txt or json that names values or colors. Received: {path}")
    return names


def _check_text(text: str, dataset: DatasetConfig) -> None:
    """Loads a config from its text, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dataset.py").write_text(text, encoding="utf-8")
        loaded = load_dataset(Path(folder))
    if loaded != dataset:
        raise InputError(f"dataset.py must load as it was built. Received: {loaded}")


def _refuse(path: Path) -> InputError:
    return InputError(
        f"{path} must not be there yet. Received: it is; another --name is a new one, --force keeps dataset.py and "
        "writes experiments and ensemble.py again; where dataset.py is removed, a new one is written"
    )


def _write_dataset(competition: str, scaffold: Scaffold) -> str:
    """Writes dataset.py; questions stand above the field that answers them."""
    doc = [f"{competition}: {scaffold.counts}.", "", "Written by `unets new` from the files."]
    doc += ["What is marked as a question is yours to settle."] if scaffold.questions else []
    comments: dict[str, list[str]] = defaultdict(list)
    for question in scaffold.questions:
        comments[question.field.split(".")[0]].append(f"QUESTION ({question.field}): {_sentence(question)}")
    return _write_module(doc, scaffold.dataset, comments)


def write_experiment_text(competition: str, proposal: Proposal, *, on_gpu: bool) -> str:
    """Writes an experiment's file: only what differs from the defaults."""
    machine = "a GPU" if on_gpu else "a CPU, one fold"
    doc = [f"U-Net at {proposal.why}.", "", f"Meant for {machine}; it was not run yet."]
    doc += [f"Run: unets pipeline {competition} -e {proposal.name}"]
    return _write_module(doc, proposal.config, proposal.reasons)


def _write_module(doc: Sequence[str], config: Config, comments: Mapping[str, Sequence[str]]) -> str:
    """Writes a module that holds a config: what differs from the defaults, and what is shown always, below comments."""
    fields = {name: _write(value, _WIDTH - 8 - len(name)) for name, value in _list_shown(config).items()}
    kind = type(config).__name__
    names = {kind, *re.findall(r"\b([A-Z]\w+)\(", " ".join(fields.values()))} & vars(unets.config).keys()
    lines = [f'"""{doc[0]}', *doc[1:], '"""'] if doc[1:] else [f'"""{doc[0]}"""']
    lines += ["", f"from unets.config import {', '.join(sorted(names))}", ""]
    lines += [f"{kind.removesuffix('Config').upper()} = {kind}("]
    for name in type(config).model_fields:
        for text in comments.get(name, ()):
            lines += textwrap.wrap(text, _WIDTH - 4, initial_indent="    # ", subsequent_indent="    # ")
        if name in fields:
            lines += textwrap.indent(f"{name}={fields[name]},", "    ").split("\n")
    return "\n".join([*lines, ")", ""])


def render_scaffold(scaffold: Scaffold, competition: str) -> str:
    """Renders for people what was found, what became of each file, what is asked, and what to do next."""
    lines = [f"found: {scaffold.counts}"]
    for name, value in _list_shown(scaffold.dataset).items():
        text = f"{name:14} {'as each image has it' if value is None else _write(value, 10_000)}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent=" " * 17)
    lines += ["", "files"]
    lines += [f"  {count:7,} {what}" for what, count in Counter(scaffold.result.account.values()).most_common()]
    if scaffold.questions:
        lines += ["", f"questions ({len(scaffold.questions)}): settle them in configs/{competition}/dataset.py"]
    for number, question in enumerate(scaffold.questions, start=1):
        text = f"{number}. {question.field}: {_sentence(question)}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="     ")
    for proposal in scaffold.proposals:
        lines += ["", f"configs/{competition}/{proposal.name}.py: {proposal.why}"]
        for reason in (reason for reasons in proposal.reasons.values() for reason in reasons):
            lines += textwrap.wrap(reason, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += ["", "next: look at images with their masks (`unets data --sheet sheet.jpg`), then `unets pipeline`"]
    return "\n".join(lines)


def _sentence(question: Question) -> str:
    text = question.text if question.text.endswith("?") else f"{question.text}."
    return f"{text} Else: {'; or '.join(question.choices)}." if question.choices else text


def _list_shown(config: Config) -> dict[str, Any]:
    """Returns the fields that differ from the defaults and, of a data set, `_SHOWN`."""
    always = _SHOWN if isinstance(config, DatasetConfig) else ()
    shown = {*always, *(name for name, _ in config.__repr_args__())}
    return {name: getattr(config, name) for name in type(config).model_fields if name in shown}


def _write(value: Any, width: int) -> str:
    """Writes a value as Python, in lines of that width; strings in double quotes, patterns raw."""
    text = pretty_repr(value, max_width=width, indent_size=4)
    text = re.sub(r"(?<![,(\[{])(\n *[)\]}])", r",\1", text)  # so that a line can be added below the last
    if '"' in text or "\\'" in text:
        return text

    def quote(match: re.Match[str]) -> str:
        inner = match[1].replace("\\\\", "\\")
        raw = f'r"{inner}"'
        is_same = inner != match[1] and ast.literal_eval(raw) == ast.literal_eval(match[0])  # not with other escapes
        return raw if is_same else f'"{match[1]}"'

    return re.sub("'([^']*)'", quote, text)
