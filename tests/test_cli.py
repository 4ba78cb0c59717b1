import errno
import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from unets import cli
from unets.config import list_experiments
from unets.errors import InputError
from unets.log import LOGGER_NAME
from unets.store.paths import Project

SCRIPTS = sorted((ROOT / "scripts").glob("[0-9][0-9]_*.py"))
EXPERIMENTS = {
    "unet_a": "ExperimentConfig()",
    "unet_b": "ExperimentConfig(folds=(1,))",
    "unet_c": "ExperimentConfig(folds=(0,))",
}
Run = Callable[..., int]


@pytest.fixture(autouse=True)
def undo_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each script sets up the package's log, as the process it usually is."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def project(make_competition: Callable[..., Project]) -> Project:
    """A tiny competition with three experiments, of which an ensemble weighs two, 3 to 1."""
    project = make_competition(num_groups=3, num_test_groups=1, num_views=2, size_hw=(32, 48))
    for name, config in EXPERIMENTS.items():
        write_config(project, name, f"EXPERIMENT = {config}")
    write_config(project, "ensemble", "ENSEMBLE = EnsembleConfig(experiments=('unet_a', 'unet_b'), weights=(3, 1))")
    return project


@pytest.fixture
def root(project: Project) -> Path:
    return project.input_dir.parent


@pytest.fixture
def run_script(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a script as `python scripts/<number>_... arguments` would, in this process; returns its exit code."""

    def run(number: str, *arguments: str) -> int:
        (path,) = (path for path in SCRIPTS if path.name.startswith(number))
        given = ["--root", str(root), "--input", str(root / "input"), "--competition", "tiny", "--jobs", "1"]
        monkeypatch.setattr(sys, "argv", [str(path), *given, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


def write_config(project: Project, name: str, definition: str) -> None:
    (project.configs_dir / f"{name}.py").write_text(f"from unets.config import *\n\n{definition}\n")


def run_main(main: Callable[[cli.Stage], None], *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.run(main, cli.build_parser("What it does."), arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def build_stage(root: Path, *arguments: str) -> cli.Stage:
    stages: list[cli.Stage] = []
    assert run_main(stages.append, "--root", str(root), "--competition", "tiny", *arguments) == 0
    return stages[0]


def read_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what was said on stderr, which must be one line that begins with a time."""
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d error: ", line)
    return line.split("error: ", 1)[1]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_says_what_it_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert path.read_text().split('"""')[1].splitlines()[0] in said
    assert all(f"--{name}" in said for name in ("competition", "input", "models", "exp", "fold", "jobs"))


def test_a_wrong_option_is_told_in_argparse_s_own_words(run_script: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("02", "--folds", "0") == 2
    assert "unrecognized arguments: --folds" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "05", "06", "07", "08"])
def test_an_unknown_competition_is_refused(number: str, run_script: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(number, "--competition", "tinny") == 1
    message = read_error(capsys)
    if number not in ("06", "07", "08"):  # which look for the files of the stage before first
        assert re.match(r"`COMPETITION` must be one of tiny\. Received: tinny \(.*/configs/tinny\)", message)


@pytest.mark.parametrize("number", ["03", "04", "05"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--exp", "unet_x"], "`EXP` must be all or among unet_a, unet_b, unet_c. Received: unet_x"),
        (["--exp", "unet_a,"], "`EXP` must be all or among unet_a, unet_b, unet_c. Received: "),
        (["--exp", "dataset"], "`EXP` must be all or among unet_a, unet_b, unet_c. Received: dataset"),
        (["--fold", "first"], "`FOLD` must be all or numbers with commas, as 0,2. Received: first"),
        (["--fold", "-1"], "`FOLD` must be all or numbers with commas, as 0,2. Received: -1"),
        (["--fold", "0,"], "`FOLD` must be all or numbers with commas, as 0,2. Received: 0,"),
        (["--fold", "0,2"], "`FOLD` must be in 0..1. Received: [0, 2]"),
    ],
)
def test_a_mistyped_word_is_refused_at_once(
    number: str,
    arguments: list[str],
    message: str,
    run_script: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Keras is loaded, which takes longer than the mending."""
    monkeypatch.setattr(cli, "load_backend", lambda: pytest.fail("loads Keras"))
    assert run_script("02") == 0
    capsys.readouterr()
    assert run_script(number, *arguments) == 1
    assert read_error(capsys) == message


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("EXPERIMENT = ExperimentConfig(epochs=3)", "unet_a.py: `epochs`: Extra inputs are not permitted. Received: 3"),
        (
            "EXPERIMENT = ExperimentConfig(model=ModelConfig(depth=0))",
            "unet_a.py: `depth`: Input should be greater than or equal to 1. Received: 0",
        ),
        (
            "EXPERIMENT = ExperimentConfig(training=TrainingConfig(epochs=2, warmup_epochs=2))",
            "unet_a.py: `warmup_epochs` must be below epochs=2; 0 leaves it out. Received: warmup_epochs=2.0",
        ),
        ("EXPERIMENT = ExperimentConfig(", "unet_a.py must run as Python. Received: SyntaxError: "),
        ("EXPERIMENT = 3", "unet_a.py must define EXPERIMENT = ExperimentConfig(...). Received: int"),
    ],
)
def test_a_faulty_config_is_named_with_its_field(
    definition: str, message: str, run_script: Run, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(project, "unet_a", definition)
    assert run_script("05") == 1
    assert message in read_error(capsys)


def test_ctrl_c_ends_with_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(lambda stage: signal.raise_signal(signal.SIGINT)) == 130
    assert read_error(capsys) == "stopped by Ctrl-C; what was finished is kept, the same command goes on"


def test_a_full_disk_is_told_in_the_system_s_words(capsys: pytest.CaptureFixture[str]) -> None:
    def fill(stage: cli.Stage) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "models/tiny/unet_a/maps/test/00003.zip")

    assert run_main(fill) == 1
    message = read_error(capsys)
    assert "No space left on device: 'models/tiny/unet_a/maps/test/00003.zip'" in message
    assert message.endswith("; what was finished is kept, the same command goes on")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda stage: print(1 / 0), cli.build_parser(None), [])


def test_verbose_shows_the_traceback_of_every_error(run_script: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("05", "--exp", "unet_x", "--verbose") == 1
    assert "Traceback" in capsys.readouterr().err


def test_folders_lie_below_the_root_unless_named(root: Path) -> None:
    project = build_stage(root).project
    assert project.input_dir == root / "input" / "tiny"
    assert project.models_dir == root / "models" / "tiny"
    assert (project.configs_dir, project.submissions_dir, project.results_dir) == (
        root / "configs" / "tiny",
        root / "submissions" / "tiny",
        root / "docs" / "results" / "tiny",
    )
    project = build_stage(root, "--input", "/elsewhere", "--models", "/fast/disk").project
    assert (project.input_dir, project.models_dir) == (Path("/elsewhere"), Path("/fast/disk"))


@pytest.mark.parametrize(
    ("exp", "experiments", "weights"),
    [
        ("all", ["unet_a", "unet_b"], (3, 1)),
        ("unet_b,unet_a", ["unet_b", "unet_a"], (1, 3)),
        ("unet_b", ["unet_b"], (1,)),
        ("unet_a,unet_a", ["unet_a"], (3,)),
        ("unet_a,unet_c", ["unet_a", "unet_c"], "equal"),  # the config does not weigh unet_c: equal
    ],
)
def test_exp_chooses_experiments_and_their_weights(
    exp: str, experiments: list[str], weights: tuple[float, ...] | str, root: Path
) -> None:
    stage = build_stage(root, "--exp", exp)
    assert list(stage.experiments) == experiments == list(stage.ensemble.experiments)
    assert stage.ensemble.weights == weights


def test_an_experiment_of_weight_0_counts_when_it_is_alone(root: Path, project: Project) -> None:
    write_config(project, "ensemble", "ENSEMBLE = EnsembleConfig(experiments=('unet_a', 'unet_b'), weights=(3, 0))")
    assert build_stage(root, "--exp", "unet_b").ensemble.weights == "equal"
    assert build_stage(root, "--exp", "unet_a,unet_b").ensemble.weights == (3, 0)


def test_ensembles_have_names(root: Path, project: Project) -> None:
    write_config(project, "ensemble_c", "ENSEMBLE = EnsembleConfig(experiments=('unet_c', 'unet_a'))")
    assert build_stage(root).ensemble_name == "ensemble"
    stage = build_stage(root, "--ensemble", "c")
    assert (stage.ensemble_name, list(stage.experiments)) == ("ensemble_c", ["unet_c", "unet_a"])
    # what is left to be fitted stays so with fewer members
    assert build_stage(root, "--ensemble", "c", "--exp", "unet_c").ensemble.weights == "fit"
    assert list_experiments(project.configs_dir) == ["unet_a", "unet_b", "unet_c"]  # it is no experiment
    wanted = r"`ENSEMBLE` must name a file ensemble_<name>.py in .*, one of c, or be left out. Received: d"
    with pytest.raises(InputError, match=wanted):
        _ = build_stage(root, "--ensemble", "d").ensemble


@pytest.mark.parametrize(
    ("exp", "fold", "folds", "common"),
    [
        ("all", "all", [[0, 1], [1]], [1]),
        ("all", "0", [[0], [0]], [0]),
        ("all", "1,0,1", [[0, 1], [0, 1]], [0, 1]),
        ("unet_a", "all", [[0, 1]], [0, 1]),
        ("unet_b,unet_c", "all", [[1], [0]], []),
    ],
)
def test_fold_chooses_folds(exp: str, fold: str, folds: list[list[int]], common: list[int], root: Path) -> None:
    stage = build_stage(root, "--exp", exp, "--fold", fold)
    assert [stage.list_folds(experiment) for experiment in stage.experiments.values()] == folds
    assert stage.common_folds() == common


def test_a_finished_stage_leaves_its_seconds(run_script: Run, project: Project) -> None:
    assert run_script("02") == 0
    assert run_script("02", "--fold", "1") == 0
    assert run_script("05", "--fold", "1") == 1  # no maps
    notes = [json.loads(line) for line in project.stages_path.read_text().splitlines()]
    assert [(note["stage"], note["exp"], note["fold"]) for note in notes] == [
        ("make_folds", "all", "all"),
        ("make_folds", "all", "1"),
    ]
    assert all(note["seconds"] >= 0 for note in notes)


def test_what_others_start_from_is_trained_before_them_on_several_devices(
    run_script: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = "ExperimentConfig(training=TrainingConfig(start_from='unet_b'), folds=(0, 1))"
    write_config(project, "unet_a", f"EXPERIMENT = {start}")
    assert run_script("02") == 0
    dealt: list[list[str]] = []
    monkeypatch.setattr("unets.workers.devices.assign_devices", lambda jobs: [1, 2, 3])
    monkeypatch.setattr(
        "unets.workers.devices.train_on_devices", lambda tasks, *_: dealt.append([str(task) for task in tasks])
    )
    assert run_script("03", "--exp", "unet_a,unet_b,unet_c") == 0
    assert dealt == [["unet_b fold 1", "unet_c fold 0"], ["unet_a fold 0", "unet_a fold 1"]]


def test_runs_are_listed_by_experiment_and_fold(
    run_script: Run, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, fold in (("unet_a", 0), ("unet_a", 1), ("unet_c", 0), ("unet_old", 1)):  # the last has no config
        project.run_dir(name, fold).mkdir(parents=True)

    def list_rows(*arguments: str) -> list[tuple[str, str]]:
        assert run_script("15", *arguments) == 0
        rows = (line.split() for line in capsys.readouterr().out.splitlines())
        return [(row[0], row[1]) for row in rows if row and row[0].startswith("unet_")]

    assert list_rows() == [("unet_a", "0"), ("unet_a", "1"), ("unet_c", "0"), ("unet_old", "1")]
    assert list_rows("--exp", "unet_old,unet_c") == [("unet_c", "0"), ("unet_old", "1")]
    assert list_rows("--fold", "1") == [("unet_a", "1"), ("unet_old", "1")]
    assert list_rows("--exp", "unet_a", "--fold", "0") == [("unet_a", "0")]
    assert run_script("15", "--exp", "unet_x") == 1
    assert "as unet_a, unet_c, unet_old. Received: unet_x" in read_error(capsys)


def make(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_make_alone_prints_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"[a-z-]+", re.search(r"^\.PHONY:((?:.*\\\n)*.*)", text, flags=re.MULTILINE)[1])  # type: ignore[index]
    assert "pipeline" in targets and set(targets) == set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
    said = make()
    assert said == make("help")
    for target in targets:
        assert re.search(rf"^  {target} +\S", said, flags=re.MULTILINE), target
    for competition in (path.parent.name for path in (ROOT / "configs").glob("*/dataset.py")):
        assert competition in said
        experiments = set(re.search(r"^experiments of \w+: (.*)", make(f"COMPETITION={competition}"), re.M)[1].split())  # type: ignore[index]
        configs = {path.stem for path in (ROOT / "configs" / competition).glob("*.py")}
        assert experiments == {name for name in configs - {"dataset"} if not name.startswith("ensemble")}


@pytest.mark.parametrize("options", [[], ["-j", "4"]])
def test_the_pipeline_is_the_scripts_in_their_order(options: list[str]) -> None:
    commands = re.findall(r"scripts/(\d\d)_", make("-n", "pipeline", *options))
    assert commands == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.slow
def test_a_plan_that_cannot_work_is_told_in_full_and_fails(
    run_script: Run, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, batch_size in (("unet_a", 2), ("unet_b", 64)):
        data = f"DataConfig(size_hw=(64, 96), batch_size={batch_size}, cache='none')"
        write_config(project, name, f"EXPERIMENT = ExperimentConfig(data={data}, model=ModelConfig(depth=1))")
    assert run_script("14", "--no-probe") == 0
    assert "impossible" not in capsys.readouterr().out
    monkeypatch.setattr("unets.training.memory.find_free_memory", lambda: 300 * 2**20)
    assert run_script("14", "--no-probe") == 1
    said = capsys.readouterr()
    assert said.out.count("impossible") == 1 and said.out.splitlines()[-1].startswith("together")
    assert re.search(
        r"error: training of unet_b must fit into .*`make train EXP=unet_b BATCH=\d+ COMPETITION=", said.err
    )
    # What it proposes works.
    batch = re.findall(r"BATCH=(\d+)", said.err)[0]
    assert run_script("14", "--no-probe", "--exp", "unet_b", "--batch", batch) == 0


HOLD = """
import sys
from pathlib import Path
from unets.store.runs import lock
sys.argv[0] = "scripts/06_make_submission.py"
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_of_two_pipelines_in_one_folder_the_second_is_told_of_the_first(
    run_script: Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", HOLD, str(root / "models" / "tiny")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        for number in ("01", "02"):
            assert run_script(number) == 1
            expected = (
                rf".*/models/tiny must be free\. Received: make_submission, process {process.pid} on "
                rf"{os.uname().nodename} since 20.* UTC is at work in it"
            )
            assert re.fullmatch(expected, read_error(capsys))
        process.kill()
    assert run_script("01") == run_script("02") == 0


def test_make_passes_its_variables_on() -> None:
    said = make(
        *("-n", "train", "COMPETITION=studio", "EXP=unet_a,unet_b", "FOLD=0,1", "ENSEMBLE=c", "JOBS=3"),
        *("INPUT=a b", "MODELS=/fast"),
    )
    line = next(line for line in said.splitlines() if "scripts/03_train.py" in line)
    given: Any = dict(re.findall(r'--(\w+) ("[^"]*"|\S+)', line))
    assert given == {
        "competition": "studio",
        "input": '"a b"',
        "models": '"/fast"',
        "exp": "unet_a,unet_b",
        "fold": "0,1",
        "ensemble": "c",
        "jobs": "3",
    }
    assert "--anew" in make("-n", "predict", "ANEW=1") and "--anew" not in make("-n", "predict")


def test_commands_in_messages_go_on_in_the_users_folders() -> None:
    parser = cli.build_parser("")
    message = "Received: none. Run `make predict EXP=a` and `make ensemble`"
    assert cli.complete_commands(message, parser.parse_args([])) == message
    args = parser.parse_args(["--competition", "studio", "--input", "input/studio", "--models", "m"])
    assert cli.complete_commands(message, args) == (
        "Received: none. Run `make predict EXP=a COMPETITION=studio MODELS=m` and "
        "`make ensemble COMPETITION=studio MODELS=m`"
    )
    named = cli.complete_commands("Run `make ensemble`", parser.parse_args(["--ensemble", "c"]))
    assert named == "Run `make ensemble ENSEMBLE=c`"
