"""Fine-tuning: from a person's own images to the card of a model of their own.

data        read and checked          augment, batches    varied and shown
transfer    what is kept, what learns  simota, objectives  what is made small, what is judged
loop        epochs, best, resume       card, report        what is left at the end
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgezoo.cards import Card, read_card
from edgezoo.errors import RequestError
from edgezoo.measure import coco
from edgezoo.optional import require
from edgezoo.preprocess import Preprocess
from edgezoo.train.data import DataSet, read
from edgezoo.train.plan import Plan, default_plan, read_plan, to_toml

if TYPE_CHECKING:
    import torch

    from edgezoo.train.loop import Told, Training

PLAN = "plan.toml"
PREVIEWED = 16


class Watch:
    """What a training tells while it runs; override what is wanted."""

    def step(self, text: str) -> None:
        """Something slow begins."""

    def fetched(self, name: str, done: int, total: int | None) -> None:
        """Bytes of the pretrained weights."""

    def noted(self, line: str) -> None:
        """Something of the data set that a person should know: an image that is left out, a class without images."""

    def checked(self, done: int, total: int) -> None:
        """Images of the data set."""

    def begins(self, training: Training) -> None:
        """Everything is read; the first step comes."""

    def at(self, told: Told) -> None:
        """A step of training or a batch of validation is done."""

    def epoch(self, row: dict[str, float], better: bool) -> None:
        """An epoch is done and on the disk."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained, on what, and how."""

    model: str | Path
    """A zoo name or a card with a [network]."""
    data: Path
    out: Path
    val: Path | None = None
    weights: Path | None = None
    """A checkpoint to begin with instead of the card's."""
    scratch: bool = False
    """Begin with random weights."""
    plan: Plan | None = None
    """None: the plan in `out` where one is resumed, else the task's default."""
    size_wh: tuple[int, int] | None = None
    device: str = "cpu"
    threads: int | None = None
    resume: bool = False
    leave_out: bool = False
    """Go on without images and labels that are wrong, naming each."""


def finetune(request: Request, watch: Watch | None = None) -> Training:
    """Train; `out` then holds `card.toml`, `labels.txt`, `best.safetensors`, `plan.toml`, pictures, `history.json`.

    The returned training's `average` holds the best weights. `last.pt` is what a training that was stopped or killed
    is resumed from: every finished epoch is in it. torch's global seed is set, and its threads where the request says.

    Raises RequestError, DataError, CardError, WeightsError, MissingDependency.
    """
    watch = watch or Watch()
    training = _prepare(request, watch)
    watch.begins(training)
    training.run(on_step=watch.at, on_epoch=lambda row, better: _keep(training, watch, row, better))
    watch.step("drawing the curves")
    _report(training, watch)
    return training


def preview(request: Request, count: int = PREVIEWED, watch: Watch | None = None) -> bytes:
    """A sheet of training images as the network would be shown them, with their labels, as PNG; `out` is not used."""
    from edgezoo.train.augment import Augmenter
    from edgezoo.train.report import drawn, sheet

    card = read_card(request.model)
    plan = request.plan or default_plan(card.task, pretrained=not request.scratch)
    recipe = _recipe(card, request)
    data = _read_data(request, card, plan, watch or Watch())
    augmenter = Augmenter(data.train, recipe, plan.augment, card.task)
    chosen = np.random.default_rng(plan.seed).permutation(len(data.train))[:count]
    shown = [augmenter(int(index), np.random.default_rng((plan.seed, 0, index))) for index in chosen]
    return sheet([drawn(each, data.names, card.task) for each in shown])


def _prepare(request: Request, watch: Watch) -> Training:
    for library in ("matplotlib", "torch", "safetensors.torch"):  # better now than after an hour
        require(library)
    import torch

    from edgezoo.train.loop import Training
    from edgezoo.train.objectives import objective_of
    from edgezoo.train.transfer import find_weights, prepare

    device = _device(request.device)
    if request.threads is not None:
        if request.threads < 1:
            raise RequestError(f"expected threads of 1 or more, got {request.threads}")
        torch.set_num_threads(request.threads)
    card = read_card(request.model)
    plan = _plan(request, card)
    objective_of(card, (), plan)
    recipe = _recipe(card, request)
    data = _read_data(request, card, plan, watch)
    state, began = None, ""
    if not request.resume and not request.scratch:
        watch.step("reading the pretrained weights")
        state, began = find_weights(card, request.weights, progress=watch.fetched, step=watch.step)
    torch.manual_seed(plan.seed)
    training = Training(
        card=card,
        recipe=recipe,
        data=data,
        plan=plan,
        learner=prepare(card, data.names, state),
        began=began,
        objective=objective_of(card, data.names, plan),
        folder=request.out,
        device=device,
        threads=torch.get_num_threads(),
    )
    if request.resume:
        training.resume()
        _publish(training)
    else:
        _begin(training)
    return training


def _plan(request: Request, card: Card) -> Plan:
    """The plan, and whether `out` is where it says: new, or a training to go on with. Raises RequestError."""
    from edgezoo.train.card import LABELS
    from edgezoo.train.checkpoint import LAST

    out = request.out
    if request.data.is_dir() and out.resolve().is_relative_to(request.data.resolve()):
        raise RequestError(f"{out}: expected a folder outside the data, whose pictures would be taken for images of it")
    there = (out / LAST).is_file()
    if not request.resume:
        if there:
            raise RequestError(f"{out}: holds a training already; --resume goes on with it, or choose another -o")
        if out.exists() and (not out.is_dir() or any(path.name not in (PLAN, LABELS) for path in out.iterdir())):
            raise RequestError(f"{out}: expected a new or empty folder, but it is there; choose another -o")
        plan = request.plan or default_plan(card.task, pretrained=not request.scratch)
        if request.scratch and (plan.frozen_epochs or not plan.batchnorm):
            raise RequestError(
                "expected a plan with frozen_epochs = 0 and batchnorm = true for --scratch, whose weights and norms "
                "know nothing yet"
            )
        return plan
    if not there:
        raise RequestError(f"{out}: expected a training to go on with, but it has no {LAST}; leave --resume out")
    stored = read_plan(out / PLAN)
    if request.plan not in (None, stored):
        raise RequestError(
            f"{out}: cannot go on by another plan than {out / PLAN}, which it began with; "
            "leave the options out that change it"
        )
    return stored


def _recipe(card: Card, request: Request) -> Preprocess:
    from edgezoo.convert.export import family_of

    recipe = dataclasses.replace(card.input, size_wh=request.size_wh or card.input.size_wh)
    if card.network is not None and any(side % family_of(card).SIZE_MULTIPLE for side in recipe.size_wh):
        width, height = recipe.size_wh
        raise RequestError(
            f"expected sides that are multiples of {family_of(card).SIZE_MULTIPLE}, got {width}x{height}; "
            "try another --size"
        )
    return recipe


def _read_data(request: Request, card: Card, plan: Plan, watch: Watch) -> DataSet:
    if card.task == "detect":
        coco.need_scorer()
    watch.step("checking the images")
    return read(
        request.data,
        card.task,
        val=request.val,
        seed=plan.seed,
        leave_out=request.leave_out,
        tell=watch.noted,
        progress=watch.checked,
    )


def _device(name: str) -> torch.device:
    """Raises RequestError where it is not here: asked for a GPU, train on it or not at all."""
    import torch

    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise RequestError(f"expected --device cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise RequestError(
            f"expected an NVIDIA GPU for --device {name}, but torch {torch.__version__} finds "
            f"{torch.cuda.device_count() or 'none'}; check nvidia-smi and that torch is built for CUDA, or --device cpu"
        )
    return torch.device(name)


def _begin(training: Training) -> None:
    from edgezoo.train.card import LABELS
    from edgezoo.train.checkpoint import write_text

    training.folder.mkdir(parents=True, exist_ok=True)
    write_text(training.folder / PLAN, to_toml(training.plan))
    write_text(training.folder / LABELS, "".join(f"{name}\n" for name in training.data.names))
    training.save()


def _keep(training: Training, watch: Watch, row: dict[str, float], better: bool) -> None:
    if better:
        _publish(training)
    watch.epoch(row, better)


def _publish(training: Training) -> None:
    """The best weights so far and their card, out of what `last.pt` holds: a kill between the two heals at resuming."""
    from edgezoo.train.card import CARD, card_text
    from edgezoo.train.checkpoint import BEST, save_weights, write_text

    if training.best is not None:
        save_weights(training.folder / BEST, training.best_weights)
        write_text(training.folder / CARD, card_text(training))


def _report(training: Training, watch: Watch) -> None:
    """`history.json` and the pictures, of the best weights."""
    import json

    from edgezoo.train import report
    from edgezoo.train.checkpoint import write_bytes, write_text
    from edgezoo.train.objectives import Detect

    folder = training.folder
    write_text(folder / "history.json", json.dumps(training.history, indent=1) + "\n")
    write_bytes(folder / "curves.png", report.curves(training.history))
    training.average.network.load_state_dict(training.best_weights)
    results = list(training.answers(len(training.history) - 1, watch.at))
    if isinstance(training.objective, Detect):
        score = training.objective.score(training.data.val, results)
        write_bytes(folder / "precision_recall.png", report.precision_recall(score.curves))
    else:
        truth = [int(example.class_ids[0]) for example in training.data.val]
        found = [int(result.class_ids[0]) for result in results]
        write_bytes(folder / "confusion.png", report.confusion(truth, found, training.data.names))
