"""How a subcommand is called, what it says, and how it ends."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests import ROOT, run_unets
from tests.trained_competition import write_config
from unets.cli.app import complete_commands, find_parameters, load_app
from unets.cli.stage import Stage
from unets.config import DataConfig, EnsembleConfig, ExperimentConfig, ModelConfig, TrainingConfig, load_dataset
from unets.dataset.checks import CheckReport
from unets.dataset.first_experiments import Cost
from unets.dataset.manifest import read_manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.run_folder import take_snapshot, write_snapshot
from unets.store.runs import hash_file
from unets.workers.pool import run_tasks

COMMANDS = [command.name or "" for command in load_app().registered_commands]
Run = Callable[..., int]


@pytest.fixture
def project(make_competition: Callable[..., Project]) -> Project:
    """A tiny competition with three experiments, of which an ensemble weighs two, 3 to 1."""
    configs = {
        "unet_a": ExperimentConfig(),
        "unet_b": ExperimentConfig(folds=(1,)),
        "unet_c": ExperimentConfig(folds=(0,)),
        "ensemble": EnsembleConfig(experiments=("unet_a", "unet_b"), weights=(3, 1)),
    }
    return make_competition(num_groups=3, num_test_groups=1, num_views=2, size_hw=(32, 48), configs=configs)


@pytest.fixture
def run(project: Project) -> Run:
    """Runs `unets <command> tiny arguments` on the tiny competition; returns its exit code."""
    root = project.input_dir.parent

    def run(name: str, *arguments: str, competition: str = "tiny") -> int:
        return run_unets(name, competition, "--root", root, "--input", project.input_dir, "--jobs", "1", *arguments)

    return run


def read_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the error on stderr, which must be one line that begins with a time, after the rule of the stage."""
    *before, line = capsys.readouterr().err.splitlines()
    assert all(re.fullmatch("== .* ==|.*samples.csv: .*", other) for other in before), before
    assert re.match(r"\d\d:\d\d:\d\d error: ", line)
    return line.split("error: ", 1)[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_unets(name, "--help") == 0
    said = capsys.readouterr()
    assert f"Usage: unets {name} " in said.out and f"unets {name}" in said.out.split("Examples:")[1] and not said.err
    assert max(map(len, said.out.splitlines())) <= 80
    assert all(one.help for one in find_parameters(name)), "an option without help"


def test_scripts_are_the_flow() -> None:
    for path in (ROOT / "scripts").iterdir():
        command = path.stem.partition("_")[2]
        assert command in COMMANDS and f'main(["{command}", *sys.argv[1:]])' in path.read_text(), path


def test_help_does_not_wait_for_what_only_stages_need() -> None:
    program = "import sys; from unets.cli.app import load_app; load_app(); "
    program += "print(*{'pandas', 'cv2', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}  # no terminal takes more
    words = [sys.executable, "-m", "unets", "train", "--help"]
    done = subprocess.run(words, env=plain, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout and not done.stderr


def test_the_shell_completes_commands_competitions_experiments_and_fields() -> None:
    def complete(words: str) -> list[str]:
        told = {"_UNETS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        program = [sys.executable, "-c", "from unets.cli import main; main()"]
        done = subprocess.run(program, env={**os.environ, **told}, cwd=ROOT, capture_output=True, text=True)
        return done.stdout.split()

    assert "predict" in complete("unets pre")
    assert complete("unets train stud") == ["studio"]
    assert "unet_128x192" in complete("unets train studio -e unet_")
    assert complete("unets train studio --set training.ep") == ["training.epochs="]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "tiny", "--folds", "0"], "No such option: --folds; did you mean --fold?; `unets train --help`"),
        (["trian", "tiny"], "No such command 'trian'. Did you mean 'train'?; `unets --help`"),
        (["train", "tiny", "extra"], "Got unexpected extra argument(s) (extra); `unets train --help`"),
        (["train", "tiny", "--jobs", "two"], "Invalid value for '--jobs' / '-j': Input should be a valid integer"),
        (["compare", "tiny", "unet_a"], "Missing argument 'B'"),
        (["mask", "model"], "Missing argument 'IMAGE...'"),
        (["pseudo-labels", "tiny"], "Missing option '--name'"),
    ],
)
def test_a_wrong_option_is_one_line_and_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_unets(*arguments) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {words}") and not said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e", "unet_x"], "`--exp` must be all or among unet_a, unet_b, unet_c. Received: unet_x; did you mean unet_"),
        (["-e", "unet_a,"], "`--exp` must be all or among unet_a, unet_b, unet_c. Received: "),
        (["--fold", "first"], "`--fold` must be all or numbers with commas, as 0,2. Received: first"),
        (["--fold", "0,2"], "`--fold` must be in 0..1. Received: [0, 2]"),
        (["--set", "training.epoch=3"], "`--set` must name a field of an experiment. Received: training.epoch; did "),
        (["--set", "training.epochs=0"], "unet_a+training.epochs=0: `training.epochs`: Input should be greater than"),
    ],
)
def test_a_mistyped_word_is_refused_at_once(
    arguments: list[str], message: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unets.cli.load_backend", lambda: pytest.fail("loads Keras"))
    assert run("train", *arguments) == 1
    assert read_error(capsys).startswith(message)


@pytest.mark.parametrize("name", ["train", "predict"])
def test_a_run_of_masks_that_changed_since_is_refused_before_a_backend_is_loaded(
    name: str, project: Project, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("split") == 0
    dataset = load_dataset(project.configs_dir)
    hashes, folds_hash = read_manifest(project, dataset).train_hashes, hash_file(project.folds_path)
    snapshot = take_snapshot(ExperimentConfig(), dataset, 0, folds_hash, hashes)
    write_snapshot(project.run_dir("unet_a", 0), snapshot, hashes)
    masks = sorted((project.input_dir / "train_masks").iterdir())
    masks[1].write_bytes(masks[0].read_bytes())
    capsys.readouterr()
    monkeypatch.setattr("unets.cli.load_backend", lambda: pytest.fail("loads Keras"))
    assert run(name, "-e", "unet_a", "--fold", "0") == 1
    assert "images or masks that changed since: 1 mask changed (car000_02). Put the files back" in read_error(capsys)


def test_an_unknown_competition_or_backend_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", competition="tinny") == 1
    expected = r"`COMPETITION` must be one of tiny\. Received: tinny \(.*/configs/tinny\); did you mean tiny\?"
    assert re.fullmatch(expected, read_error(capsys))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert run("plan") == 1
    assert read_error(capsys).startswith("`KERAS_BACKEND` must be tensorflow or jax. Received: torch")


@pytest.fixture
def fail(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Runs a stage that ends in an error; returns its exit code."""

    def fail(error: BaseException) -> int:
        monkeypatch.setattr("unets.dataset.checks.check_data", Mock(side_effect=error))
        return run("check")

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.jsonl"), 1, ".*No space left on device: 'a.jsonl'"),
    ],
)
def test_ctrl_c_ends_with_one_line_and_130(
    error: BaseException, code: int, words: str, fail: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is told in the system's words, with 1."""
    assert fail(error) == code
    assert re.fullmatch(f"{words}; what was finished is kept, the same command goes on", read_error(capsys))


@pytest.mark.slow
def test_ctrl_c_while_modules_load_is_one_line(run: Run, project: Project) -> None:
    assert run("split") == 0
    words = [sys.executable, "-m", "unets", "plan", "tiny", "--no-probe"]
    words += ["--root", str(project.input_dir.parent), "--input", str(project.input_dir)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    if process.returncode != 0:  # it may have ended before
        assert process.returncode in (130, -signal.SIGINT), said  # the latter before Python itself had started
        # A fast machine is past loading by then: what the stage has said stands before the one line.
        assert "Traceback" not in said and said.count("stopped by Ctrl-C") <= 1, said
        assert said == "" or "error: stopped by Ctrl-C" in said.splitlines()[-1] or said.startswith("== "), said


def test_a_library_that_memory_does_not_hold_is_one_line(fail: Any, capsys: pytest.CaptureFixture[str]) -> None:
    broken = ImportError("x seems to be broken, please reinstall")
    broken.__cause__ = ImportError("libx.so: failed to map segment from shared object")
    assert fail(broken) == 1
    assert read_error(capsys).startswith("memory must suffice. Received: libx.so: failed to map segment")
    assert fail(RuntimeError("RESOURCE_EXHAUSTED: OOM\nx")) == 1  # a backend's, as while a card predicts
    assert read_error(capsys).startswith("memory must suffice. Received: RESOURCE_EXHAUSTED: OOM. Fewer --jobs")
    for error in (ImportError("no x"), ZeroDivisionError()):  # faults of ours
        with pytest.raises(type(error)):
            fail(error)


def test_what_a_terminal_obeys_is_not_shown_and_verbose_shows_the_traceback(
    run: Run, fail: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = "\x1b[31mred.png must be whole"
    assert fail(InputError(fault)) == 1
    report = CheckReport(num_train=1, num_test=0, num_skipped=0, faults=(fault,), notes=(), faults_path="")
    monkeypatch.setattr("unets.dataset.checks.check_data", lambda *_, **__: report)
    assert run("check") == 1
    said = capsys.readouterr()
    assert "[31mred.png" in said.out and "[31mred.png" in said.err and "\x1b" not in said.out + said.err
    assert run("ensemble", "-e", "unet_x", "--verbose") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((), "== ensemble · tiny · 2 experiments, 3 folds =="),
        (("--fold", "0"), "== ensemble · tiny · 2 experiments x 1 fold =="),
        (("-e", "unet_a"), "== ensemble · tiny · 1 experiment x 2 folds =="),
    ],
)
def test_a_stage_begins_with_what_it_works_on(
    arguments: tuple[str, ...], rule: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("ensemble", *arguments) == 1
    assert capsys.readouterr().err.splitlines()[0] == rule
    monkeypatch.setenv("UNETS_STEP", "5/6")
    assert run("ensemble", *arguments) == 1
    assert capsys.readouterr().err.splitlines()[0] == rule.replace("ensemble", "5/6 ensemble")


def test_a_finished_stage_says_what_comes_next_and_leaves_its_seconds(
    run: Run, project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("split") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: `unets train tiny --input ")
    assert run("ensemble", "--fold", "1") == 1  # no maps
    monkeypatch.setenv("UNETS_STEP", "2/6")
    assert run("split") == 0
    assert "next:" not in capsys.readouterr().out
    assert run("runs", "--fold", "1") == 0
    notes = [json.loads(line) for line in project.stages_path.read_text().splitlines()]
    assert [(note["stage"], note["fold"]) for note in notes] == [("split", "all"), ("split", "all"), ("runs", "1")]
    assert all(note["seconds"] >= 0 for note in notes)
    project.stages_path.unlink()
    project.stages_path.mkdir()  # as in a folder that is only read
    capsys.readouterr()
    assert run("runs") == 0
    assert "what the stage took is not noted: " in capsys.readouterr().err


def test_what_others_start_from_is_trained_before_them_on_several_devices(
    run: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ExperimentConfig(training=TrainingConfig(start_from="unet_b"), folds=(0, 1))
    write_config(project, "unet_a", start)
    assert run("split") == 0
    assigned: list[list[str]] = []
    commands: list[list[str]] = []

    def note(tasks: list[object], _: object, build: Callable[[object], list[str]]) -> None:
        assigned.append([str(task) for task in tasks])
        commands.extend(build(task) for task in tasks)

    monkeypatch.setattr("unets.workers.devices.assign_devices", lambda jobs: [1, 2, 3])
    monkeypatch.setattr("unets.workers.devices.train_on_devices", note)
    assert run("train", "--exp", "unet_a,unet_b,unet_c", "--set", "data.batch_size=4", "--verbose") == 0
    batch = "+data.batch_size=4"
    assert assigned == [  # unet_a starts from unet_b without the change, of the folds that unet_a has
        [f"unet_b{batch} fold 1", f"unet_c{batch} fold 0", "unet_b fold 0", "unet_b fold 1"],
        [f"unet_a{batch} fold 0", f"unet_a{batch} fold 1"],
    ]
    assigned.clear()
    assert run("train", "--exp", "unet_c", "--seeds", "3") == 0
    assert assigned == [["unet_c fold 0", "unet_c+training.seed=1 fold 0", "unet_c+training.seed=2 fold 0"]]
    assert commands[-1].count("--seeds") == 1  # though UNETS_SEEDS may be set: a child has one run
    words = commands[4]
    assert words[1:5] == ["-m", "unets", "train", "tiny"] and "--set" not in words and "--verbose" in words
    assert words[-10:-4] == ["--exp", f"unet_a{batch}", "--fold", "0", "--seeds", "1"]
    assert words[-4:] == ["--jobs", "1", "--cluster", ""]


@pytest.mark.parametrize(("name", "expected"), [("train", 3), ("predict", 1)])
def test_jobs_of_a_training_are_folds_each_of_which_has_all_cores(
    name: str, expected: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unets.workers.pool.count_cores", lambda: 3)
    drawn = list[int]()
    with Stage(name=name, project=project, given={"cluster": "", "jobs": 1}).use_workers():
        tasks = (drawn.append(number) for number in range(1000))
        next(run_tasks(str, tasks, what="count", total=1000, threads=True))
    assert len(drawn) == 16 * expected  # a block


def test_runs_are_listed_by_experiment_and_fold(run: Run, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("unet_a", 0), ("unet_a", 1), ("unet_a+training.epochs=3", 0), ("unet_c", 0), ("unet_old", 1)
    for name, fold in names:  # the last has no config
        project.run_dir(name, fold).mkdir(parents=True)

    def list_rows(*arguments: str) -> list[tuple[str, int]]:
        assert run("runs", *arguments) == 0
        rows = (line.split() for line in capsys.readouterr().out.splitlines())
        return [(row[0], int(row[1])) for row in rows if row and row[0].startswith("unet_")]

    assert list_rows() == list(names)
    assert list_rows("-e", "unet_old,unet_c") == [("unet_c", 0), ("unet_old", 1)]
    assert list_rows("-e", "unet_a+training.epochs=3") == [("unet_a+training.epochs=3", 0)]
    assert list_rows("--fold", "1") == [("unet_a", 1), ("unet_old", 1)]
    assert run("runs", "-e", "unet_x") == 1
    assert "unet_c, unet_old. Received: unet_x; did you mean unet_" in read_error(capsys)


def test_clean_deletes_what_is_named_alone(run: Run, project: Project) -> None:
    for name in ("unet_a", "unet_a+training.epochs=3"):
        for fold in (0, 1):
            project.run_dir(name, fold).mkdir(parents=True)
    assert run("clean") == 2  # never all by accident
    assert run("clean", "-e", "unet_a", "--set", "training.epochs=3", "--fold", "1") == 0
    kept = sorted(path.relative_to(project.models_dir).as_posix() for path in project.models_dir.glob("*/fold*"))
    assert kept == ["unet_a+training.epochs=3/fold0", "unet_a/fold0", "unet_a/fold1"]


@pytest.mark.slow
def test_a_plan_that_cannot_work_is_told_in_full_and_fails(
    run: Run, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, batch_size in (("unet_a", 2), ("unet_b", 64)):
        data = DataConfig(size_hw=(64, 96), batch_size=batch_size, cache="none")
        write_config(project, name, ExperimentConfig(data=data, model=ModelConfig(depth=1)))
    assert run("plan", "--no-probe") == 0
    assert "impossible" not in capsys.readouterr().out
    monkeypatch.setattr("unets.training.memory.find_free_memory", lambda: 300 * 2**20)
    assert run("plan", "--no-probe") == 1
    said = capsys.readouterr()
    assert said.out.count("impossible") == 1 and "\ntogether" in said.out
    assert "error: training of unet_b must fit into " in said.err
    # What it proposes works.
    batch = re.findall(r"`unets train tiny .*--micro-batch (\d+)", said.err)[0]
    assert run("plan", "--no-probe", "--exp", "unet_b", "--micro-batch", batch) == 0


def test_new_remembers_where_the_data_lies(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a b $HOME 'ü'\nc"
    project.input_dir.rename(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unets.training.speed.time_step", lambda *_: Cost(train_seconds=0.1, predict_seconds=0.02))
    assert run_unets("new", place, "--name", "mine", "--minutes", "0") == 1
    assert "`--minutes` must be above 0" in capsys.readouterr().err
    assert run_unets("new", place, "--name", "mine", "--minutes", "5") == 0
    shown = capsys.readouterr().out
    assert "`unets pipeline mine`" in shown and "0.100 s an image on this machine" in shown
    note = tmp_path / "configs" / "mine" / ".input"
    assert note.read_text() == f"{place}\n"
    assert run_unets("split", "mine") == 0
    assert run_unets("split", "mine", "--input", "elsewhere") == 1
    assert "`--input` must be" in capsys.readouterr().err
    note.unlink()
    assert run_unets("split", "mine") == 1


def test_commands_in_messages_go_on_in_the_users_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "unets must train: run `unets train --exp a --force && unets predict` or `make setup`, `unets --help`"
    given = {"competition": "studio", "input": None, "models": Path("a b"), "ensemble": "c"}
    place = "studio --ensemble c --models 'a b'"
    wanted = f"unets must train: run `unets train {place} --exp a --force && unets predict {place}` or `make setup`, "
    assert complete_commands(message, given) == f"{wanted}`unets --help`"
    assert complete_commands("Run `unets ensemble`", {"competition": "carvana"}) == "Run `unets ensemble`"
    monkeypatch.setenv("UNETS_MAKE", "1")
    assert re.fullmatch("Run `.*bin/unets ensemble`", complete_commands("Run `unets ensemble`", {}))
