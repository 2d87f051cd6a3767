"""The programs as their user runs them: train, kill, resume, evaluate, load, and mistakes."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_task import TASK, assert_equal, rows

import jaxad
from jaxad import data, inputs
from jaxad.commands import evaluate
from jaxad.commands import train as run
from jaxad.configs import adc2021_vae, cathode, codae, interpretable_hln, normalised, toptagging_ae
from jaxad.errors import UserError
from jaxad.training import fit, get_config

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'toptagging_ae.py'}:smoke"


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Images of one blob (background, label 0) and of two blobs (label 1)."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 600)
    yx = rng.normal(0, 1.2, (600, 40, 2)) + 8
    yx[label == 1, 20:] += rng.choice([-4, 4], (int(label.sum()), 1, 2))
    pixel = np.clip(yx.astype(int), 0, 15)
    x = np.zeros((600, 16, 16), np.float32)
    np.add.at(x, (np.arange(600)[:, None], pixel[..., 0], pixel[..., 1]), 1)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x=x, label=label, mass=rng.gamma(5, 10, 600).astype(np.float32))
    return path


def flags_of(images: Path, workdir: str | Path, *more: str) -> list[str]:
    return [
        CONFIG,
        f"--workdir={workdir}",
        "--config.data.name=events",
        f"--config.data.source={images}",
        "--config.data.format=image",
        "--config.data.label_key=label",
        "--config.data.signals=two=1",
        "--config.data.observables=mass=mass",
        "--config.inputs.name=image",
        "--config.model.width=8",
        *more,
    ]


def params_of(workdir: Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "scorer" / "params.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def trained(images, tmp_path_factory) -> Path:
    """Work directory of a finished run of an ensemble of two."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    flags = flags_of(images, workdir, "--config.train.ensemble=2")
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for shown in ("learning_rate: 0.001", "devices", "jax", "parameters", "epoch"):
        assert shown in done.stdout + done.stderr
    return workdir


def test_work_directory_is_the_contract(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["train"]["ensemble"] == 2
    history = [json.loads(s) for s in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [0, 1]
    assert {"stage", "train_loss", "val_loss", "learning_rate"} <= set(history[0])
    assert len(history[0]["val_loss"]) == 2
    assert any((trained / "checkpoints" / "autoencoder").iterdir())


def test_evaluate_writes_what_scripts_rely_on(trained, program):
    done = program("evaluate.py", f"--workdir={trained}", "--bootstrap=20")
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout
    assert "report.html" in done.stdout
    metrics = json.loads((trained / "eval" / "metrics.json").read_text())
    found = metrics["signals"]["two"]["scores"]["mse"]
    assert 0 < found["auc"] < 1
    assert found["auc_err"] > 0
    assert len(found["auc_members"]) == 2
    assert {"pca", "mass"} <= set(metrics["signals"]["two"]["baselines"])
    for name in ("roc", "scores", "average_images", "reconstructions", "latent", "training"):
        assert (trained / "eval" / f"{name}.png").stat().st_size > 5000
    page = (trained / "eval" / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_evaluation_says_when_the_data_have_changed(trained, images, tmp_path, capsys):
    """The same events in another order: the split is another one."""
    moved = tmp_path / "images.npz"
    with np.load(images) as arrays:
        np.savez(moved, **{name: array[::-1] for name, array in arrays.items()})
    shutil.copytree(trained, tmp_path / "run")
    images.replace(tmp_path / "kept.npz")
    try:
        shutil.copy(moved, images)
        evaluate.evaluate(tmp_path / "run", n_bootstrap=2)
    finally:
        (tmp_path / "kept.npz").replace(images)
    assert "no longer the data that the run was trained on" in capsys.readouterr().err


def other_images(images: Path, path: Path) -> np.ndarray:
    """Images as those of the run, but others; their labels."""
    with np.load(images) as arrays:
        np.savez(path, **{name: arrays[name][:90] for name in arrays} | {"x": 2 * arrays["x"][:90]})
        return arrays["label"][:90]


def test_all_events_of_other_files_are_scored(trained, images, tmp_path, capsys):
    """And a reference that is gone costs its own figures alone."""
    directory = tmp_path / "run"
    shutil.copytree(trained, directory, ignore=shutil.ignore_patterns("pca", "eval"))
    label = other_images(images, tmp_path / "other.npz")
    metrics = evaluate.evaluate(directory, str(tmp_path / "other.npz"), n_bootstrap=0)
    assert metrics["n_background"] == (label == 0).sum()
    assert metrics["signals"]["two"]["n_events"] == (label == 1).sum()
    assert "trained nothing of this run: all events are scored" in capsys.readouterr().out
    with h5py.File(directory / "eval" / "scores.h5") as file:
        assert len(file["background/observables/mass"]) == (label == 0).sum()
    assert "no trained scorer here" in metrics["left_out"]["pca"]
    assert set(metrics["signals"]["two"]["baselines"]) == {"mass", "mean_image", "pca_16"}
    assert "no pca: " in (directory / "eval" / "report.html").read_text()


def test_stages_of_a_baseline_are_its_own(tmp_path):
    """What a method trains does not go on from a baseline whose stage is called alike."""
    settings = get_config(epochs=1, batch_size=40)
    works = run.bench(run.fitter(tmp_path))
    for seed, own in ((1, works.under("baseline a, ")), (0, works)):
        found = own.fit(TASK, rows(40), rows(20, 1), settings, seed, stage="autoencoder")
    alone = fit(TASK, rows(40), rows(20, 1), settings, 0, stage="autoencoder")
    assert_equal(found.params, alone.params)
    stages = [json.loads(line)["stage"] for line in (tmp_path / "history.jsonl").open()]
    assert stages == ["baseline a, autoencoder", "autoencoder"]


@pytest.mark.long
def test_a_baseline_with_the_stages_of_the_method(tmp_path):
    """An autoencoder beside one that is normalised after a phase of the same name; and itself."""
    source, rng = tmp_path / "own.npz", np.random.default_rng(0)
    np.savez(source, x=rng.normal(size=(300, 4)), label=np.arange(300) % 4 == 0)
    config = normalised.get_config("smoke")
    own = {"source": str(source), "format": "features", "label_key": "label", "signals": "s=1"}
    config.data, config.inputs = data.get_config("events", **own), inputs.get_config("features")
    config.baselines = ("autoencoder", "normalised_autoencoder")
    config.train.epochs = config.normalise_train.epochs = 1
    run.train(config, tmp_path / "run")
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=0)
    assert set(metrics["signals"]["s"]["baselines"]) == {"autoencoder"}
    assert metrics["left_out"]["normalised_autoencoder"] == "it is the method itself"


def given(trained: Path, source: Path):
    """The data set that evaluation takes for a source."""
    scorer = jaxad.load(trained)
    config = scorer.config.copy_and_resolve_references()
    return evaluate._of_other_files(config, str(source), scorer.info["data"])


@pytest.mark.parametrize("copied", [False, True])
def test_of_the_files_that_trained_the_test_part_is_scored(
    trained, images, tmp_path, capsys, copied
):
    """Under whatever name they come."""
    source = shutil.copy(images, tmp_path / "copy.npz") if copied else images
    dataset = given(trained, source)
    assert dataset.info["counts"] == jaxad.load(trained).info["data"]["counts"]
    assert "trained on these events: their test part alone is scored" in capsys.readouterr().out


@pytest.mark.parametrize("copied", [False, True])
def test_a_file_that_trained_among_others_is_refused(trained, images, tmp_path, copied):
    other_images(images, tmp_path / "other.npz")
    (shutil.copy if copied else os.symlink)(images, tmp_path / "same.npz")
    message = r"--data.source: .*same.npz trained this run \(as .*images"
    with pytest.raises(UserError, match=message):
        given(trained, tmp_path / "*.npz")


def test_files_that_trained_are_known_from_another_folder(trained, images, tmp_path, monkeypatch):
    """Also where the config names them from the folder of the training."""
    scorer = jaxad.load(trained)
    config = scorer.config.copy_and_resolve_references()
    monkeypatch.chdir(images.parent)
    config.data.source = images.name
    again = run.build_scorer(config, scorer.method, scorer.params, data.load(config.data))
    monkeypatch.chdir(tmp_path)
    other_images(images, tmp_path / "other.npz")
    shutil.copy(images, tmp_path / "same.npz")
    with pytest.raises(UserError, match=r"same.npz trained this run"):
        evaluate._of_other_files(config, "*.npz", again.info["data"])


def test_files_that_trained_and_are_gone_are_told(trained, images, tmp_path, capsys):
    other_images(images, tmp_path / "other.npz")
    scorer = jaxad.load(trained)
    config = scorer.config.copy_and_resolve_references()
    trained_on = scorer.info["data"] | {"files": ["gone.npz"]}
    evaluate._of_other_files(config, str(tmp_path / "other.npz"), trained_on)
    said = capsys.readouterr()
    assert "warning: gone.npz: trained this run and is no longer there" in said.err
    assert "trained nothing" not in said.out


@pytest.mark.parametrize("samples", [-1, 1])
def test_bootstrap_samples_that_have_no_spread_are_refused(trained, samples):
    with pytest.raises(UserError, match=r"--bootstrap: expected 0 \(none\) or 2 and more, found"):
        evaluate.evaluate(trained, n_bootstrap=samples)


def test_scorer_of_a_run(trained, images):
    import jax

    scorer = jaxad.load(trained)
    with np.load(images) as arrays:
        x = arrays["x"]
    scores = scorer(x)
    assert scores.shape == (600,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scorer(x[:3]), scores[:3], rtol=1e-5)
    np.testing.assert_allclose(jax.jit(scorer.fn)(scorer.params, x), scores, rtol=1e-5)
    np.testing.assert_allclose(scorer.scores(x)["mse"], scores, rtol=1e-6)
    members = scorer.member_scores(x)["mse"]
    np.testing.assert_allclose(members.mean(0), scores, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: scorer.fn(scorer.params, x).sum()))(x[:5])
    assert np.isfinite(gradient).all()
    found = scorer.threshold(fpr=0.2)
    kept = np.mean(scorer.background >= found["threshold"])
    assert kept == pytest.approx(0.2, abs=1 / len(scorer.background))
    assert scorer(x[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[0], r"found \(16, 16\); one event needs a leading axis"),
        (lambda x: x[:, :8], r"expected shape \(n, 16, 16\)"),
        (lambda x: np.where(np.arange(len(x))[:, None, None] == 7, np.nan, x), "event 7 holds NaN"),
        (lambda x: x.astype(str), "expected real numbers"),
    ],
)
def test_scorer_refuses_bad_input(trained, images, spoil, message):
    with np.load(images) as arrays, pytest.raises(UserError, match=message):
        jaxad.load(trained)(spoil(arrays["x"]))


def test_the_same_command_again_leaves_a_finished_run_alone(trained, images, program):
    before = params_of(trained)
    done = program("train.py", *flags_of(images, trained, "--config.train.ensemble=2"))
    assert done.returncode == 0
    assert "already trained" in done.stdout
    for name, array in params_of(trained).items():
        np.testing.assert_array_equal(array, before[name])


def assert_one_line(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_another_config_is_refused_with_the_difference(trained, images, program):
    done = program("train.py", *flags_of(images, trained, "--config.train.batch_size=8"))
    assert_one_line(done, "batch_size: 32 there, 8 now", "ensemble: 2 there, 1 now", "--workdir")


def told(main, *flags: str) -> subprocess.CompletedProcess:
    """What a command says that ends before it has begun, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(flags)
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(flags, code, out.getvalue(), err.getvalue())


def test_mistakes_on_the_command_line(images, trained, program):
    done = program("train.py", *flags_of(images, "new", "--config.data.n_jets=10"))
    assert_one_line(done, "n_jets: not a setting of data.name='events'", "set data.n_events")
    done = told(run.main, *flags_of(images, "new", "--config.train.epochz=3"))
    assert_one_line(done, "epochz", "epochs")
    done = told(run.main, f"{CONFIG}y", "--workdir=new")
    assert_one_line(done, "smokey: no such variant", ":smoke")
    assert_one_line(told(run.main, CONFIG), "--workdir")
    assert_one_line(told(run.main, "--config=nope.py", "--workdir=new"), "nope.py")
    done = told(evaluate.main, "--workdir=nowhere")
    assert_one_line(done, "nowhere", "no trained scorer here")
    done = told(evaluate.main, f"--workdir={trained}", "--data.source=nothing-*.npz")
    assert_one_line(done, "nothing-*.npz")


@pytest.mark.parametrize(
    ("experiment", "format", "wanted"),
    [
        (toptagging_ae, "features", "takes .* the data are features .*: choose inputs.name"),
        (toptagging_ae, "image", "takes .* the data are image .* among image"),
        (interpretable_hln, "features", "takes .* the data are features .*: choose other data"),
        (cathode, "features", "searches a mass, and these events have none: set data.mass_key"),
        (codae, "features", "takes image, the data are features"),
        (adc2021_vae, "features", "takes ptetaphi, the data are features .* among features"),
    ],
)
def test_methods_refuse_rows_that_they_cannot_take(experiment, format, wanted, tmp_path):
    shape = {"features": (60, 5), "image": (60, 8, 8)}[format]
    source = tmp_path / "own.npz"
    np.savez(source, x=np.random.default_rng(0).random(shape), label=np.arange(60) % 2)
    config = experiment.get_config("smoke")
    settings = {"source": str(source), "label_key": "label", "signals": "s=1", "format": format}
    config.data = data.get_config("events", **settings)
    with pytest.raises(UserError, match=wanted):
        run.train(config, tmp_path / "run")


def test_help_helps():
    for main, words in {
        run.main: ("--config=configs/toptagging_ae.py", ":smoke", "resumes", "--workdir"),
        evaluate.main: ("--workdir=runs/toptagging", "--data.source", "report.html"),
    }.items():
        done = told(main, "--help")
        assert done.returncode == 0
        for word in words:
            assert word in done.stdout


def start(flags: list[str], cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *flags],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_for_training(process: subprocess.Popen) -> None:
    for line in process.stdout:
        if line.startswith("autoencoder:"):
            return


LONG = (
    "--config.train.epochs=8",
    "--config.train.checkpoint_seconds=0.0",
    "--config.baselines=('pca_16',)",
)


@pytest.fixture(scope="session")
def undisturbed(images, tmp_path_factory) -> dict[str, np.ndarray]:
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    flags = flags_of(images, workdir, *LONG)
    subprocess.run([sys.executable, ROOT / "train.py", *flags], check=True, capture_output=True)
    return params_of(workdir)


@pytest.mark.long
def test_killed_at_random_moments_and_resumed_bit_for_bit(images, tmp_path, undisturbed):
    """SIGKILL several times over in one run: the parameters end as those of an undisturbed one."""
    rng, kills = np.random.default_rng(0), 0
    flags = flags_of(images, "run", *LONG)
    while kills < 4:
        process = start(flags, tmp_path)
        wait_for_training(process)
        time.sleep(rng.uniform(0, 1.5))
        alive = process.poll() is None
        process.kill()
        process.communicate()
        kills += 1
        if not alive:
            break
    process = start(flags, tmp_path)
    process.communicate()
    assert process.returncode == 0
    assert kills >= 2
    for name, array in params_of(tmp_path / "run").items():
        np.testing.assert_array_equal(array, undisturbed[name])


def test_sigterm_saves_and_resumes_bit_for_bit(images, tmp_path, undisturbed):
    flags = flags_of(images, "run", *LONG)
    process = start(flags, tmp_path)
    wait_for_training(process)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert any((tmp_path / "run" / "checkpoints" / "autoencoder").iterdir())
    process = start(flags, tmp_path)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "going on at epoch" in out
    for name, array in params_of(tmp_path / "run").items():
        np.testing.assert_array_equal(array, undisturbed[name])


def test_one_process_at_a_time(images, tmp_path, program):
    process = start(flags_of(images, "run", *LONG), tmp_path)
    wait_for_training(process)
    os.kill(process.pid, signal.SIGSTOP)
    done = program("train.py", *flags_of(images, "run", *LONG))
    process.kill()
    process.communicate()
    assert_one_line(done, "another process is working there")


def test_a_work_directory_that_cannot_be_written(images, program, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = program("train.py", *flags_of(images, "file/run"))
    assert_one_line(done, "file/run", "cannot write")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MB, for those who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(images, tiny_disk, program, undisturbed):
    """No checkpoint fits at first; with space again the same command ends as if undisturbed."""
    filling = tiny_disk / "filling"
    filling.write_bytes(bytes(900_000))
    flags = flags_of(images, tiny_disk / "run", *LONG)
    done = program("train.py", *flags)
    assert_one_line(done, "space", "kept")
    filling.unlink()
    done = program("train.py", *flags)
    assert done.returncode == 0, done.stderr
    for name, array in params_of(tiny_disk / "run").items():
        np.testing.assert_array_equal(array, undisturbed[name])
