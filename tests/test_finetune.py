"""Training as a whole: it learns, goes on after a kill to the same end, and leaves a model like any other."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

from edgezoo.cards import read_card
from edgezoo.cli import main
from edgezoo.convert import convert
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, WeightsError
from edgezoo.measure.evaluate import evaluate
from edgezoo.preprocess import Preprocess
from edgezoo.train import Request, Watch, finetune
from edgezoo.train.plan import Augment, Plan, default_plan, read_plan, to_toml

torch = pytest.importorskip("torch", reason="training is written in torch")
pytest.importorskip("matplotlib", reason='training draws its curves; try: pip install "edgezoo[train]"')

AS_IS = Augment(flip=0, scale=(1, 1), hue=0, saturation=0, brightness=0)
SCRATCH = Plan(epochs=3, batch=4, body=1.0, frozen_epochs=0, batchnorm=True, augment=AS_IS)

CARDS = {
    "detect": """
name = "tiny"
task = "detect"
labels = "tiny.txt"
licence = { code = "MIT", weights = "MIT", data = "none" }
network = { family = "yolox", options = { depth = 0.33, width = 0.125 } }
input = { size_wh = [64, 64], fit = "letterbox" }
decoder = { name = "yolox-raw" }
""",
    "classify": """
name = "tiny"
task = "classify"
labels = "tiny.txt"
licence = { code = "MIT", weights = "MIT", data = "none" }
network = { family = "mobilenet_v2", options = {} }
input = { size_wh = [40, 40], fit = "crop", color = "RGB", mean = [120.0, 110.0, 100.0], std = [58.0, 57.0, 56.0] }
decoder = { name = "logits" }
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cards `detect.toml` and `classify.toml` and sets of the same names."""
    folder = tmp_path_factory.mktemp("finetune")
    (folder / "tiny.txt").write_text("a\nb\nc\n")
    for task, card in CARDS.items():
        (folder / f"{task}.toml").write_text(card)
    sets.detect_set(folder / "detect")
    sets.classify_set(folder / "classify")
    return folder


def request_of(place: Path, task: str, out: Path, **changed: Any) -> Request:
    options = {"model": place / f"{task}.toml", "data": place / task, "out": out, "scratch": True, "plan": SCRATCH}
    return Request(**{**options, **changed})


class Rows(Watch):
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def epoch(self, row: dict[str, float], better: bool) -> None:
        self.rows.append(row)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


# It learns.


@pytest.mark.parametrize(("task", "epochs", "lr"), [("detect", 160, 1.5e-2), ("classify", 60, 3e-3)])
def test_eight_images_are_learnt_by_heart(place: Path, tmp_path: Path, task: str, epochs: int, lr: float) -> None:
    """To a small part of the loss it began with, and to right answers."""
    from edgezoo.train.data import read
    from edgezoo.train.loop import Training
    from edgezoo.train.objectives import objective_of
    from edgezoo.train.transfer import prepare

    card = read_card(place / f"{task}.toml")
    data = read(place / task, task)
    assert len(data.train) == 8
    data = sets.both_sides(task, data.names, list(data.train))
    plan = dataclasses.replace(SCRATCH, epochs=epochs, batch=8, lr=lr, label_smoothing=0.0)
    torch.manual_seed(0)
    objective = objective_of(card, data.names, plan)
    training = Training(
        card=card, recipe=card.input, data=data, plan=plan, learner=prepare(card, data.names, None), began="",
        objective=objective, folder=tmp_path, device=torch.device("cpu"), threads=2,
    )  # fmt: skip
    losses = [training._train(epoch, lambda told: None)["loss"] for epoch in range(epochs)]
    assert losses[-1] < {"detect": 0.12, "classify": 0.02}[task] * losses[0]
    found = training.validate(epochs, lambda told: None)
    assert found[objective.metric] > {"detect": 0.8, "classify": 0.999}[task]


# What the network is shown is what the device shows it.


@pytest.mark.parametrize("task", CARDS)
def test_validation_sees_what_the_device_sees(place: Path, tmp_path: Path, task: str) -> None:
    """The very array that enters the network in validation is the recipe's oracle of that image, bit for bit."""
    from edgezoo.sources.images import read_image
    from edgezoo.tasks import Ask
    from edgezoo.train.data import read
    from edgezoo.train.validate import answers

    card = read_card(place / f"{task}.toml")
    data = read(place / task, task)
    seen: list[Any] = []

    def network(images: Any) -> Any:
        seen.append(images.clone())
        outputs = 5 + 3 if task == "detect" else 3
        return torch.zeros((len(images), 84, outputs) if task == "detect" else (len(images), outputs))

    list(
        answers(
            network,  # type: ignore[arg-type]
            data.val,
            card.input,
            card.decoder,
            card.label_names,
            Ask(),
            device=torch.device("cpu"),
            progress=lambda done, total: None,
        )
    )
    for example, array in zip(data.val, torch.cat(seen).numpy(), strict=True):
        np.testing.assert_array_equal(array, card.input.tensor(read_image(example.path)))


@pytest.mark.parametrize("color", ["BGR", "RGB"])
def test_the_door_in_torch_is_the_oracle(color: str) -> None:
    from edgezoo.train.batches import door

    recipe = Preprocess(
        size_wh=(13, 7), fit="stretch", color=color, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 13, 3), np.uint8)
    found = door(torch.from_numpy(images), recipe).numpy()
    for image, array in zip(images, found):
        np.testing.assert_array_equal(array, recipe.tensor(image))


# Batches.


def test_every_image_comes_once_in_batches_of_nearly_one_size() -> None:
    from edgezoo.train.batches import order

    plan = dataclasses.replace(SCRATCH, batch=16)
    chosen = order(245, plan, 3)
    assert sorted(np.concatenate(chosen).tolist()) == list(range(245))
    assert {len(batch) for batch in chosen} == {15, 16}
    assert [batch.tolist() for batch in order(245, plan, 3)] == [batch.tolist() for batch in chosen]
    assert order(245, plan, 4)[0].tolist() != chosen[0].tolist()


def test_threads_change_nothing(place: Path) -> None:
    from edgezoo.train.augment import Augmenter
    from edgezoo.train.batches import batches
    from edgezoo.train.data import read

    card = read_card(place / "detect.toml")
    examples = read(place / "detect", "detect").train
    augmenter = Augmenter(examples, card.input, Augment(mosaic=0.5, degrees=5), "detect")
    one, four = ([*batches(augmenter, SCRATCH, 1, threads=n)] for n in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert torch.equal(a.images, b.images)
        for x, y in zip(a.shown, b.shown, strict=True):
            np.testing.assert_array_equal(x.boxes_xyxy, y.boxes_xyxy)
            np.testing.assert_array_equal(x.class_ids, y.class_ids)


def test_an_image_that_vanishes_ends_the_training_and_its_threads(place: Path, tmp_path: Path) -> None:
    import threading

    from edgezoo.errors import SourceError
    from edgezoo.train.augment import Augmenter
    from edgezoo.train.batches import batches
    from edgezoo.train.data import read

    data = sets.detect_set(tmp_path / "set")
    examples = read(data, "detect").train
    examples[5].path.unlink()
    augmenter = Augmenter(examples, read_card(place / "detect.toml").input, AS_IS, "detect")
    with pytest.raises(SourceError, match="expected an image"):
        list(batches(augmenter, SCRATCH, 0, threads=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("augment")]


# Transfer.


def test_a_new_head_on_an_old_body(place: Path) -> None:
    from edgezoo.train.transfer import prepare

    card = read_card(place / "detect.toml")
    torch.manual_seed(1)
    old = prepare(card, ("a", "b", "c"), None).network.state_dict()
    learner = prepare(card, ("x", "y"), old)
    new = learner.network.state_dict()
    anew = {name for name in new if name not in old or not torch.equal(new[name].float(), old[name].float())}
    assert anew and all(".cls_preds." in name for name in anew)  # noqa: PT018
    assert learner.heads == {"head"}
    assert learner.kept == len(old) - 6

    same = prepare(card, ("a", "b", "c"), old)  # the very same classes: nothing begins anew
    assert all(torch.equal(value, old[name]) for name, value in same.network.state_dict().items())
    renamed = prepare(card, ("a", "b", "d"), old)
    assert not torch.equal(renamed.network.state_dict()["head.cls_preds.0.weight"], old["head.cls_preds.0.weight"])


def test_strangers_are_refused(place: Path) -> None:
    from edgezoo.train.transfer import prepare

    card = read_card(place / "detect.toml")
    state = prepare(card, ("a",), None).network.state_dict()
    for broken, says in (
        ({name: value for name, value in state.items() if "stem" not in name}, "it has no backbone.backbone.stem"),
        ({**state, "extra": torch.zeros(1)}, "its extra is none of its tensors"),
        ({**state, "backbone.reduce_conv1.conv.weight": torch.zeros(1)}, "its backbone.reduce_conv1.conv.weight"),
    ):
        with pytest.raises(WeightsError, match=says):
            prepare(card, ("x", "y"), broken)


def test_the_body_is_frozen_then_learns_slower(place: Path) -> None:
    from edgezoo.train.transfer import prepare

    learner = prepare(read_card(place / "detect.toml"), ("a", "b"), None)
    plan = default_plan("detect", pretrained=True)
    learner.get_ready(plan, 0)
    assert {name.partition(".")[0] for name, p in learner.network.named_parameters() if p.requires_grad} == {"head"}
    learner.get_ready(plan, plan.frozen_epochs)
    assert all(p.requires_grad for p in learner.network.parameters())
    norms = [module for module in learner.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)  # pretrained norms keep their figures
    learner.get_ready(SCRATCH, 0)
    assert all(norm.training for norm in norms)

    groups = learner.optimizer(plan).param_groups
    names = {id(p): name for name, p in learner.network.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(names)
    for group in groups:
        heads = {names[id(p)].startswith("head.") for p in group["params"]}
        decays = {p.ndim > 1 for p in group["params"]}
        assert len(heads) == len(decays) == 1
        assert group["share"] == (1.0 if heads == {True} else plan.body)
        assert group["weight_decay"] == (plan.weight_decay if decays == {True} else 0.0)


def test_the_average_follows_fast_at_first_and_slowly_later() -> None:
    from edgezoo.train.transfer import Average

    network = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, 0.9)
    torch.nn.init.ones_(network.weight)
    average.update(network)
    assert average.network.weight.item() == pytest.approx(1 - 2 / 11)  # keeps (1 + 1) / (10 + 1)
    for _ in range(200):
        average.update(network)
    torch.nn.init.zeros_(network.weight)
    before = average.network.weight.item()
    average.update(network)
    assert average.network.weight.item() == pytest.approx(0.9 * before)


# Kill and resume.

SLOW = """
import sys, time
from pathlib import Path
from edgezoo.train import Request, Watch, finetune
from edgezoo.train.plan import read_plan
class Telling(Watch):
    def at(self, told):
        print("at", told.epoch, told.doing, told.done, told.total, flush=True)
        if told.epoch == EPOCH and told.doing == "training" and told.done == 1:
            time.sleep(60)  # to be killed here, in the middle of an epoch
place, out = map(Path, sys.argv[1:])
plan = read_plan(place / "plan.toml")
request = Request(model=place / f"{TASK}.toml", data=place / TASK, out=out, scratch=True, plan=plan)
finetune(request, Telling())
"""


@pytest.mark.parametrize(("task", "epoch"), [("detect", 1), ("classify", 0)])
def test_a_killed_training_goes_on_to_the_same_end(place: Path, tmp_path: Path, task: str, epoch: int) -> None:
    plan = dataclasses.replace(SCRATCH, augment=Augment(mosaic=0.5 if task == "detect" else 0.0))
    (place / "plan.toml").write_text(to_toml(plan))
    whole = finetune(request_of(place, task, tmp_path / "whole", plan=plan))

    script = f"TASK, EPOCH = {task!r}, {epoch}\n" + SLOW
    child = subprocess.Popen([sys.executable, "-c", script, str(place), str(tmp_path / "killed")], stdout=-1, text=True)
    assert child.stdout is not None
    try:
        assert any(line.startswith(f"at {epoch} training 1") for line in child.stdout)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=30)
        child.stdout.close()
    left = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert left == [*(["best.safetensors", "card.toml"] if epoch else []), "labels.txt", "last.pt", "plan.toml"]
    torch.rand(7)  # another random state than the one it was killed with
    resumed = finetune(request_of(place, task, tmp_path / "killed", plan=None, resume=True))

    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in each.history] for each in (whole, resumed)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == plan.epochs
    for file in ("best.safetensors", "card.toml"):
        one, other = ((tmp_path / run / file).read_bytes() for run in ("whole", "killed"))
        assert one.replace(b"whole", b"killed") == other, file


def test_a_kill_before_the_card_is_written_heals(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """`last.pt` alone is the truth; what follows from it is written again. What it began with is in it, too."""
    import edgezoo.train

    def killed(training: object) -> None:
        raise KeyboardInterrupt

    request = request_of(place, "classify", tmp_path / "run", plan=dataclasses.replace(SCRATCH, epochs=1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(edgezoo.train, "_publish", killed)
        finetune(request)
    assert not (tmp_path / "run/card.toml").exists()
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "-o", tmp_path / "run"]
    code, _, err = run(*command, "--resume")  # without --scratch, and with a card that has no weights
    assert code == 0, err
    assert "from random weights" in err
    card = read_card(tmp_path / "run/card.toml")
    assert "fine-tuned" not in card.title
    assert card.licence.weights == "unknown"
    assert (tmp_path / "run/best.safetensors").is_file()


def test_ctrl_c_says_how_to_go_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    from edgezoo.train.loop import Training

    real = Training.validate

    def interrupted(self: Training, epoch: int, on_step: Any) -> dict[str, float]:
        if epoch == 1:
            raise KeyboardInterrupt
        return real(self, epoch, on_step)

    monkeypatch.setattr(Training, "validate", interrupted)
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "-o", tmp_path / "run", "--scratch"]
    code, _, err = run(*command, "--epochs", 2)
    assert code == 130
    assert "stopped after epoch 1; --resume goes on from there" in err
    monkeypatch.setattr(Training, "validate", real)
    code, _, err = run(*command, "--resume")
    assert code == 0, err
    assert "going on after epoch 1" in err


def test_a_training_begun_on_a_cpu_goes_on_where_gradients_are_scaled(place: Path, tmp_path: Path) -> None:
    training = finetune(request_of(place, "classify", tmp_path / "run"))
    training._half = True  # as on a GPU; what a CPU saved of its scaler is empty
    training.resume()
    assert len(training.history) == SCRATCH.epochs


@pytest.mark.parametrize("task", CARDS)
def test_a_loss_that_is_no_number_ends_it_with_one_line(place: Path, tmp_path: Path, task: str) -> None:
    training = finetune(request_of(place, task, tmp_path / "run", plan=dataclasses.replace(SCRATCH, epochs=1)))
    training.plan = dataclasses.replace(SCRATCH, epochs=2)
    with torch.no_grad():  # as after a step that was far too long
        next(training.learner.network.parameters()).fill_(float("nan"))
    with pytest.raises(RequestError, match=r"epoch 2, step 1: the loss is no number any more; try a smaller --lr"):
        training.run(on_step=lambda told: None, on_epoch=lambda row, better: None)


def test_a_finished_training_resumed_only_draws_its_pictures_again(place: Path, tmp_path: Path) -> None:
    first = finetune(request_of(place, "classify", tmp_path / "run"))
    weights = (tmp_path / "run/best.safetensors").read_bytes()
    (tmp_path / "run/curves.png").unlink()
    rows = Rows()
    again = finetune(request_of(place, "classify", tmp_path / "run", plan=None, resume=True), rows)
    assert rows.rows == []
    assert again.history == first.history
    assert (tmp_path / "run/best.safetensors").read_bytes() == weights
    assert (tmp_path / "run/curves.png").is_file()


def test_patience_ends_it_early(place: Path, tmp_path: Path) -> None:
    plan = dataclasses.replace(SCRATCH, epochs=50, lr=0.0, patience=2)  # without a rate nothing gets better
    training = finetune(request_of(place, "classify", tmp_path / "run", plan=plan))
    assert len(training.history) == 3
    assert training.best is training.history[0]


def test_the_learning_rate_rises_and_falls(place: Path, tmp_path: Path) -> None:
    plan = dataclasses.replace(SCRATCH, epochs=10, warmup_epochs=2.0, lr=1.0)
    from edgezoo.train.loop import Training

    training = Training.__new__(Training)
    training.plan = plan
    rates = [training._rate(at / 2) for at in range(21)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[2] == pytest.approx(0.5)
    assert max(rates) == rates[4] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.505)
    assert rates[20] == pytest.approx(0.01)
    assert rates[4:] == sorted(rates[4:], reverse=True)


# What it leaves.


@pytest.mark.parametrize("task", CARDS)
def test_what_it_leaves_is_a_model_like_any_other(place: Path, tmp_path: Path, task: str) -> None:
    """The card converts as it is, and the bundle on the device path has the accuracy that training stated."""
    out = tmp_path / "my run"
    training = finetune(request_of(place, task, out, plan=dataclasses.replace(SCRATCH, epochs=4, lr=4e-3)))
    pictures = {"confusion.png"} if task == "classify" else {"precision_recall.png"}
    assert {path.name for path in out.iterdir()} == pictures | {
        "best.safetensors", "card.toml", "curves.png", "history.json", "labels.txt", "last.pt", "plan.toml",
    }  # fmt: skip
    card = read_card(out / "card.toml")
    assert card.name == "my-run"
    assert card.label_names == training.data.names
    assert card.accuracy[0].value == pytest.approx(training.best[training.objective.metric], abs=1e-5)  # type: ignore[index]
    assert read_plan(out / "plan.toml") == training.plan
    assert json.loads((out / "history.json").read_text()) == training.history

    bundle = convert(out / "card.toml", tmp_path / "bundle")
    data = place / task / "val"
    with Engine(bundle) as engine:
        found = evaluate(engine, data)
    assert training.best is not None
    for name in ("map", "map50") if task == "detect" else ("top1",):
        assert found.metrics[name] == pytest.approx(training.best[name], abs=1e-4)


def test_a_model_of_ones_own_can_be_trained_further(place: Path, tmp_path: Path) -> None:
    finetune(request_of(place, "classify", tmp_path / "first"))
    plan = dataclasses.replace(SCRATCH, epochs=1, lr=0.0, batchnorm=False, frozen_epochs=1)
    card = tmp_path / "first/card.toml"
    again = finetune(request_of(place, "classify", tmp_path / "second", model=card, scratch=False, plan=plan))
    assert again.learner.kept == len(again.learner.network.state_dict())
    assert "began with first" in read_card(tmp_path / "second/card.toml").licence.data


def test_plans_are_kept_as_they_were(tmp_path: Path) -> None:
    for task in CARDS:
        for pretrained in (True, False):
            plan = default_plan(task, pretrained=pretrained)
            (tmp_path / "plan.toml").write_text(to_toml(plan))
            assert read_plan(tmp_path / "plan.toml") == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 0", "expected epochs of 1 or more, got 0"),
        ("lr = 2.0", r"expected lr within 0\.\.1"),
        ("epoch = 3", "did you mean 'epochs'"),
        ("[augment]\nflip = 2.0", "augment: expected augment.flip within 0..1"),
        ("epochs = ", "expected a plan in TOML"),
    ],
)
def test_plans_that_make_no_sense(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(RequestError, match=says):
        read_plan(tmp_path / "plan.toml")


# On the command line.


def test_a_training_on_the_command_line(place: Path, tmp_path: Path, run: Run) -> None:
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "-o", tmp_path / "run", "--scratch"]
    code, out, err = run(*command, "--epochs", 2, "--batch", 4)
    assert code == 0, err
    assert "validation images, epoch" in out
    assert "next: edgezoo convert" in out
    assert "2 classes, 8 images to learn, 4 to judge by" in err
    assert err.count("epoch ") == 2
    code, _, err = run(*command, "--epochs", 2)
    assert code == 2
    assert "holds a training already; --resume goes on with it" in err
    code, out, err = run(*command, "--resume", "--json")
    assert code == 0, err
    assert len(json.loads(out)["history"]) == 2
    code, _, err = run(*command, "--resume", "--epochs", 5)
    assert code == 2
    assert "cannot go on by another plan" in err


def test_a_resumed_training_sees_that_its_images_changed(tmp_path: Path, place: Path, run: Run) -> None:
    data = sets.classify_set(tmp_path / "set")
    command = ["finetune", place / "classify.toml", "--data", data, "-o", tmp_path / "run", "--scratch"]
    assert run(*command, "--epochs", 1)[0] == 0
    sets.write(data / "train/level/0.png", sets.plain(1, 77))
    code, _, err = run(*command, "--resume")
    assert code == 2
    assert "cannot go on: this is not the data it began with" in err


def test_a_preview_is_drawn_and_nothing_else(place: Path, tmp_path: Path, run: Run) -> None:
    import cv2

    sheet = tmp_path / "sheet.png"
    command = ["finetune", place / "detect.toml", "--data", place / "detect", "-o", tmp_path / "run"]
    code, out, err = run(*command, "--scratch", "--preview", sheet)
    assert code == 0, err
    assert "sheet.png" in out
    assert cv2.imread(str(sheet)).shape == (2 * 68, 4 * 68, 3)  # eight pictures of 64 px
    assert not (tmp_path / "run").exists()


def broken(place: Path, kind: str) -> Path:
    """A set with one thing wrong with it."""
    folder = place / kind
    if kind == "one class":
        sets.classify_set(folder)
        for side in ("train", "val"):
            for file in (folder / side / "level").iterdir():
                file.unlink()
            (folder / side / "level").rmdir()
    elif kind == "corrupt":
        import cv2

        sets.classify_set(folder)
        cv2.imwrite(str(folder / "train/level/good.jpg"), sets.plain(1, 5, 200))
        data = (folder / "train/level/good.jpg").read_bytes()
        (folder / "train/level/bad.jpg").write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        (folder / "train").mkdir(parents=True)
    else:
        sets.detect_set(folder)
        file = folder / "train/annotations.json"
        content = json.loads(file.read_text())
        content["annotations"][0].update({"zero": {"bbox": [3, 3, 0, 9]}, "category": {"category_id": 7}}[kind])
        file.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("task", "kind", "says"),
    [
        (
            "classify",
            "one class",
            r"expected two classes or more, each a folder of images to train on, got 1 \(upright\)",
        ),
        ("classify", "corrupt", r"got 1 problem: \S+bad\.jpg: expected a whole image, got a JPEG without its end"),
        ("classify", "empty", "train: expected a folder of images for every class, got none"),
        ("detect", "empty", r"expected COCO form \(.*\) or YOLO form \(.*\), got neither"),
        ("detect", "zero", r"0\.png: expected boxes with a width and a height, got x1 y1 x2 y2 = 3, 3, 3, 12"),
        ("detect", "category", r"0\.png: expected one of the 2 categories of annotations\.json, got 7"),
    ],
)
def test_bad_data_is_one_clear_line(tmp_path: Path, place: Path, run: Run, task: str, kind: str, says: str) -> None:
    import re

    data = broken(tmp_path, kind)
    code, out, err = run("finetune", place / f"{task}.toml", "--data", data, "-o", tmp_path / "run", "--scratch")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert re.search(says, err), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--device", "cuda:99"], "expected an NVIDIA GPU for --device cuda:99"),
        (["--device", "tpu"], "expected --device cpu, cuda or cuda:N, got 'tpu'"),
        (["--epochs", "0"], "expected epochs of 1 or more"),
        (["--flip", "3"], "expected augment.flip within 0..1"),
        (["--size", "50x50"], "expected sides that are multiples of 32, got 50x50"),
        (["--resume"], "expected a training to go on with, but it has no last.pt"),
        (["--plan", "none.toml"], "none.toml: expected a plan"),
        (["--weights", "none.pth"], "got both"),
        (["--seed", "-1"], "expected seed of 0 or more, got -1"),
        (["--threads", "0"], "expected threads of 1 or more, got 0"),
        (["--preview", "nowhere/sheet.png"], "there is no folder nowhere"),
        (["--resume", "--epochs", "5"], "expected a training to go on with, but it has no last.pt"),
    ],
)
def test_requests_that_cannot_be_served(place: Path, tmp_path: Path, run: Run, options: list[str], says: str) -> None:
    code, out, err = run(
        "finetune", place / "detect.toml", "--data", place / "detect", "-o", tmp_path / "run", "--scratch", *options
    )
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert says in err
    assert not (tmp_path / "run").exists()


def test_pictures_of_a_training_are_no_images_to_train_on(place: Path, run: Run) -> None:
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "--scratch"]
    code, _, err = run(*command, "-o", place / "classify" / "out")
    assert code == 2
    assert "expected a folder outside the data" in err
    code, _, err = run(*command)
    assert code == 2
    assert "-o DIR" in err


def test_from_random_weights_everything_has_to_learn(place: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "plan.toml").write_text("batchnorm = false\n")
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "-o", tmp_path / "run", "--scratch"]
    code, _, err = run(*command, "--plan", tmp_path / "plan.toml")
    assert code == 2
    assert "batchnorm = true for --scratch" in err


def test_a_model_without_weights_or_without_a_network(place: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("finetune", place / "detect.toml", "--data", place / "detect", "-o", tmp_path / "run")
    assert code == 2
    assert "names no checkpoint to start from; give one with --weights, or --scratch" in err


def test_cuda_is_asked_for_where_there_is_none(place: Path, tmp_path: Path, run: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU for torch")
    code, _, err = run(
        "finetune", place / "detect.toml", "--data", place / "detect", "-o", tmp_path / "run", "--scratch",
        "--device", "cuda",
    )  # fmt: skip
    assert code == 2
    assert "torch" in err
    assert "finds none; check nvidia-smi" in err


def test_a_checkpoint_that_was_cut_is_told(place: Path, tmp_path: Path, run: Run) -> None:
    command = ["finetune", place / "classify.toml", "--data", place / "classify", "-o", tmp_path / "run", "--scratch"]
    assert run(*command, "--epochs", 1)[0] == 0
    (tmp_path / "run/last.pt").write_bytes(b"PK half of it")
    code, _, err = run(*command, "--resume")
    assert code == 2
    assert "last.pt: expected the checkpoint of a training" in err
    assert len(err.strip().splitlines()) == 1
