"""Fine-tuning: from a person's own images to the card of a model of their own.

data        read and checked          augment, batches    varied and shown
transfer    what is kept, what learns  simota, objectives  what is made small, what is judged
loop        epochs, best, resume       card, report        what is left at the end
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgezoo.cards import Card, read_card
from edgezoo.errors import RequestError
from edgezoo.optional import require
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

    def left_out(self, line: str) -> None:
        """An image that is not trained on, and why."""

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

    `last.pt` there is what a killed training is resumed from. Raises RequestError, DataError, CardError, WeightsError,
    MissingDependency; after a KeyboardInterrupt, too, all finished epochs are on the disk.
    """
    watch = watch or Watch()
    training = _prepare(request, watch)
    watch.begins(training)
    training.run(on_step=watch.at, on_epoch=lambda row, better: _keep(training, request, watch, row, better))
    watch.step("drawing the curves")
    _report(training)
    return training


def preview(request: Request, count: int = PREVIEWED, watch: Watch | None = None) -> bytes:
    """A sheet of training images as the network would be shown them, with their labels, as PNG."""
    watch = watch or Watch()
    require("matplotlib")
    from edgezoo.train.augment import Augmenter
    from edgezoo.train.report import drawn, sheet

    card = read_card(request.model)
    data = _read_data(request, card, request.plan or default_plan(card.task, pretrained=True), watch)
    plan = request.plan or default_plan(card.task, pretrained=not request.scratch)
    augmenter = Augmenter(data.train, _recipe(card, request), plan.augment, card.task)
    chosen = np.random.default_rng(plan.seed).permutation(len(data.train))[:count]
    shown = [augmenter(int(index), np.random.default_rng((plan.seed, 0, index))) for index in chosen]
    return sheet([drawn(each, data.names, card.task) for each in shown])


def _prepare(request: Request, watch: Watch) -> Training:
    require("matplotlib")  # it comes with the extra and is needed last: better now than after an hour
    require("torch")
    import torch

    from edgezoo.train.loop import Training
    from edgezoo.train.objectives import objective_of
    from edgezoo.train.transfer import find_weights, prepare

    device = _device(request.device)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    card = read_card(request.model)
    plan = _plan(request, card)
    objective_of(card, (), plan)
    recipe = _recipe(card, request)
    data = _read_data(request, card, plan, watch)
    state = None
    if not request.scratch:
        watch.step("reading the pretrained weights")
        state = find_weights(card, request.weights, progress=watch.fetched, step=watch.step)
    torch.manual_seed(plan.seed)
    training = Training(
        card=card,
        recipe=recipe,
        data=data,
        plan=plan,
        learner=prepare(card, data.names, state),
        objective=objective_of(card, data.names, plan),
        folder=request.out,
        device=device,
        threads=torch.get_num_threads(),
    )
    if request.resume:
        training.resume()
    else:
        _begin(training)
    return training


def _plan(request: Request, card: Card) -> Plan:
    """The plan, and whether `out` is where it says: new, or a training to go on with. Raises RequestError."""
    from edgezoo.train.checkpoint import LAST

    there = (request.out / LAST).is_file()
    if not request.resume:
        if there:
            raise RequestError(
                f"{request.out}: holds a training already; --resume goes on with it, or choose another -o"
            )
        if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
            raise RequestError(f"{request.out}: expected a new or empty folder, but it is there; choose another -o")
        return request.plan or default_plan(card.task, pretrained=not request.scratch)
    if not there:
        raise RequestError(
            f"{request.out}: expected a training to go on with, but it has no {LAST}; leave --resume out"
        )
    stored = read_plan(request.out / PLAN)
    if request.plan not in (None, stored):
        raise RequestError(
            f"{request.out}: cannot go on by another plan than {request.out / PLAN}, which it began with; "
            "leave the options out that change it"
        )
    return stored


def _recipe(card: Card, request: Request) -> Any:
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
    watch.step("checking the images")
    return read(
        request.data,
        card.task,
        val=request.val,
        seed=plan.seed,
        leave_out=request.leave_out,
        tell=watch.left_out,
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


def _keep(training: Training, request: Request, watch: Watch, row: dict[str, float], better: bool) -> None:
    """The card of the best weights so far."""
    from edgezoo.train.card import METRICS, card_text, name_of
    from edgezoo.train.checkpoint import write_text

    if better:
        metrics = {name: value for name, value in row.items() if name in METRICS}
        text = card_text(
            training.card,
            name_of(training.folder.resolve().name),
            training.recipe,
            training.data,
            metrics,
            pretrained=not request.scratch,
        )
        write_text(training.folder / "card.toml", text)
    watch.epoch(row, better)


def _report(training: Training) -> None:
    """`history.json` and the pictures, of the best weights. Raises WeightsError."""
    import json

    from edgezoo.convert.export import read_state_dict
    from edgezoo.train import report
    from edgezoo.train.card import METRICS
    from edgezoo.train.checkpoint import BEST, write_bytes, write_text
    from edgezoo.train.objectives import Detect

    folder = training.folder
    write_text(folder / "history.json", json.dumps(training.history, indent=1) + "\n")
    write_bytes(folder / "curves.png", report.curves(training.history, METRICS))
    training.average.network.load_state_dict(read_state_dict(folder / BEST, key=None))
    results = list(training.answers(lambda done, total: None))
    if isinstance(training.objective, Detect):
        score = training.objective.score(training.data.val, results)
        write_bytes(folder / "precision_recall.png", report.precision_recall(score.curves))
    else:
        truth = [int(example.class_ids[0]) for example in training.data.val]
        found = [int(result.class_ids[0]) for result in results]
        write_bytes(folder / "confusion.png", report.confusion(truth, found, training.data.names))
