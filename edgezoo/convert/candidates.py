"""Candidates for an artifact of a reduced precision: made, judged, and timed until one of them holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from edgezoo import graphs
from edgezoo.bundle import Artifact, Bundle
from edgezoo.convert import calibration, write
from edgezoo.convert.calibration import Calibration
from edgezoo.convert.half import half
from edgezoo.convert.int8.calibrate import METHODS
from edgezoo.convert.recipe import QuantisationRecipe, check_layers
from edgezoo.convert.regions import plain
from edgezoo.convert.search import SAMPLES, Search, Subject, Tell, Trial, run_each, search
from edgezoo.engine import Engine
from edgezoo.errors import ConvertError, MissingDependency
from edgezoo.imagesets import Drawn
from edgezoo.machine import machine
from edgezoo.measure.gate import Exam, Judgement, examine, judge
from edgezoo.measure.race import race
from edgezoo.tasks import task

IMAGES = 40
"""To calibrate with, where there are as many."""
LOOKS = 3
"""Candidates that are put to the gate at most: who looks often finds by chance what is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What is asked of a reduced artifact, and what it may be made with."""

    max_drop: float = 1.0
    """The budget, in points of the metric."""
    data: Path | None = None
    """Labelled images to judge by; None: by agreement with fp32."""
    source: str | None = None
    """Images to calibrate with: a set's name, a folder, a pattern, a video; None: see `calibration.draw`."""
    images: int = IMAGES
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    """Ways from what was seen to a range, of which the gentlest is taken."""
    ranges: Path | None = None
    """A file that keeps a calibration."""
    minutes: float = 10.0
    """For the search of one artifact; 0: none."""
    tensorrt: str = "10"
    """The oldest version that int8-tensorrt is for."""
    keep_slower: bool = False
    """Write also what turns out slower than fp32."""
    recipe: QuantisationRecipe | None = None
    """In the place of a search."""


@dataclass(kw_only=True, slots=True, eq=False)
class Outcome:
    """What came of one precision."""

    name: str
    artifact: Artifact | None = None
    """None: not written."""
    graph: bytes | None = None
    """None: that of fp32."""
    why: str = ""
    """Why it was not written."""
    judgements: list[Judgement] = field(default_factory=list)
    """Of every candidate that was put to the gate; the last one is what counts."""
    speed: dict[str, Any] = field(default_factory=dict)
    search: Search | None = None
    chosen: Trial | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "written": self.artifact is not None,
            **({"why": self.why} if self.why else {}),
            "judgements": [judgement.to_dict() for judgement in self.judgements],
            "speed": self.speed,
            "floats": list(self.chosen.floats) if self.chosen else [],
            "tried": [trial.to_dict() for trial in self.search.trials] if self.search else [],
            "search_seconds": round(self.search.seconds, 1) if self.search else None,
        }


@dataclass(frozen=True, slots=True)
class _Candidate:
    graph: bytes | None
    trial: Trial | None = None


class Workshop:
    """What the artifacts of one bundle share: the calibration, the images to judge by, fp32's answers."""

    def __init__(self, bundle: Bundle, terms: Terms, tell: Tell) -> None:
        self.bundle, self.terms, self._tell = bundle, terms, tell
        self.graph = bundle.read_graph(bundle.artifact())
        self.model = plain(graphs.parse(self.graph))
        self.fp32 = Engine(bundle)

    def close(self) -> None:
        self.fp32.close()

    @cached_property
    def drawn(self) -> tuple[Drawn, Drawn | None]:
        """Images to calibrate with, and, where there are no labelled ones, those to draw others to judge by from."""
        terms, manifest = self.terms, self.bundle.manifest

        def take(count: int) -> Drawn:
            return calibration.draw(terms.source, terms.data, manifest, count=count, seed=terms.seed)

        drawn = take(terms.images)
        if terms.data is not None:
            return drawn, None
        more = take(2 * terms.images)
        return (take(max(1, len(more) // 2)), more) if len(more) < 2 * terms.images else (drawn, more)

    @cached_property
    def calibration(self) -> Calibration:
        recipe, terms = self.terms.recipe, self.terms
        return calibration.measured(
            self.bundle,
            self.model,
            self.drawn[0],
            methods=(recipe.method,) if recipe else terms.methods,
            file=terms.ranges,
            progress=self._counting("calibrating"),
        )

    @cached_property
    def exam(self) -> Exam:
        """Images that calibration did not see."""
        seen, others = self.drawn
        leave_out = frozenset(seen.hashes.values())
        progress = self._counting("asking fp32 about images to judge by")
        return examine(
            self.fp32.infer, self.bundle.manifest, self.terms.data, drawn=others, leave_out=leave_out, progress=progress
        )

    @cached_property
    def rehearsal(self) -> Exam:
        """The images that calibration saw: the search may look at these."""
        progress = self._counting("asking fp32 about the calibration images")
        return examine(self.fp32.infer, self.bundle.manifest, drawn=self.drawn[0], progress=progress)

    def _counting(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._tell(what, done, total)

    def make(self, name: str) -> Outcome:
        """One artifact, or why there is none."""
        outcome = Outcome(name=name)
        for looks, candidate in enumerate(islice(self._candidates(name, outcome), LOOKS), 1):
            outcome.chosen = candidate.trial
            draft = self._draft(name)
            with closing(self._opened(draft, candidate.graph)) as engine:
                self._tell(f"{name}: judging a candidate", looks - 1, LOOKS)
                found = judge(self.exam, engine.infer, max_drop=self.terms.max_drop)
                outcome.judgements.append(found)
                if not found.ok:
                    outcome.why = found.why or f"over the budget: {found.drop:.2f} points, {found.max_drop:g} at most"
                    continue
                if engine.runs.backend == draft.target:
                    self._tell(f"{name}: timing it against fp32", 0, 1)
                    outcome.speed = self._speed(engine)
                if outcome.speed.get("ratio", 1) < 1 and not self.terms.keep_slower:
                    outcome.why = f"slower than fp32: {outcome.speed['ratio']:.2f} times as fast"
                    continue
                outcome.graph, outcome.why = candidate.graph, ""
                outcome.artifact = self._finished(draft, outcome, engine)
                return outcome
        return outcome

    def _candidates(self, name: str, outcome: Outcome) -> Iterator[_Candidate]:
        precision, _, target = name.partition("-")
        if precision == "bf16":
            yield _Candidate(None)
        elif precision == "fp16":
            ranges = self.calibration.ranges[next(iter(self.calibration.ranges))]
            yield _Candidate(half(self.model, ranges=ranges).graph.SerializeToString())
        else:
            yield from self._in_integers(target, outcome)

    def _in_integers(self, target: str, outcome: Outcome) -> Iterator[_Candidate]:
        samples = list(islice(self.calibration.drawn.placed(self.bundle.manifest.input), SAMPLES))
        options = {"oldest": self.terms.tensorrt} if target == "tensorrt" else {}
        subject = Subject(self.model, target, self.calibration.ranges, samples, **options)
        recipe = self.terms.recipe
        if recipe is not None:
            check_layers(recipe, subject.layers, "the recipe")
            trial = Trial(method=recipe.method, floats=recipe.float, harm=subject.harm(recipe.method, recipe.float))
            yield _Candidate(subject.graph(trial.method, trial.floats), trial)
            return

        if not self.terms.keep_slower and self._all_integers_lose(subject, target, outcome):
            return

        def drop_of(graph: bytes) -> float:
            with closing(self._opened(self._draft(f"int8-{target}"), graph)) as engine:
                return judge(self.rehearsal, engine.infer, max_drop=self.terms.max_drop).drop

        outcome.search = search(
            subject,
            drop_of=drop_of,
            max_drop=self.terms.max_drop,
            minutes=self.terms.minutes,
            tell=lambda text, done, total: self._tell(f"int8-{target}: {text}", done, total),
        )
        for trial in outcome.search.candidates:
            yield _Candidate(subject.graph(trial.method, trial.floats), trial)

    def _all_integers_lose(self, subject: Subject, target: str, outcome: Outcome) -> bool:
        """Whether fp32 is faster than even the graph with no layer in float: then no search finds a faster one."""
        method = next(iter(subject.ranges))
        with closing(self._opened(self._draft(outcome.name), subject.graph(method, ()))) as engine:
            if engine.runs.backend != target:
                return False
            self._tell(f"{outcome.name}: timing all layers in INT8 against fp32", 0, 1)
            outcome.speed = self._speed(engine)
        if lost := outcome.speed["ratio"] < 1:
            ratio = outcome.speed["ratio"]
            outcome.why = f"slower than fp32 with every layer in INT8: {ratio:.2f} times as fast, so none was freed"
        return bool(lost)

    def _draft(self, name: str) -> Artifact:
        """The artifact before anything about it is known."""
        precision, _, target = name.partition("-")
        fp32 = self.bundle.artifact()
        return Artifact(
            file=fp32.file if precision == "bf16" else f"model.{name}.onnx",
            sha256=fp32.sha256 if precision == "bf16" else "",
            precision=precision,
            target=target,
            agreement={},
            tools=write.versions(["edgezoo", "onnx", "onnxruntime", *([target] if target == "openvino" else [])]),
            source=fp32.source,
            options={"precision": "bf16"} if precision == "bf16" else {},
        )

    def _opened(self, draft: Artifact, graph: bytes | None) -> Engine:
        """The candidate on its target where that is here, else on ONNX Runtime, which computes the same."""
        graph = self.graph if graph is None else graph
        if draft.target in ("", "onnxruntime", "tensorrt"):
            return self.fp32.over(graph, draft, backend="onnxruntime")
        try:
            return self.fp32.over(graph, draft, backend=draft.target)
        except MissingDependency:
            if draft.options:
                raise
            return self.fp32.over(graph, draft, backend="onnxruntime")

    def _speed(self, engine: Engine) -> dict[str, Any]:
        """Against fp32 on the same runtime, in turns."""
        runs = engine.runs
        with closing(self.fp32.over(self.graph, self.bundle.artifact(), backend=runs.backend)) as fp32:
            ms, (against,) = race(engine, [fp32])
        return {
            "ratio": round(against.ratio, 3),
            "low": round(against.low, 3),
            "high": round(against.high, 3),
            "ms": round(ms, 3),
            "against": "fp32",
            "against_ms": round(against.ms, 3),
            "backend": runs.backend,
            "version": runs.version,
            "threads": runs.threads,
            "machine": machine(),
        }

    def _finished(self, draft: Artifact, outcome: Outcome, engine: Engine) -> Artifact:
        meaning = task(self.bundle.manifest.task)
        golden = self.bundle.read_golden()
        answers = run_each(engine.backend, list(golden["placed"]))
        apart = meaning.difference({name: golden[f"out_{name}"] for name in meaning.OUTPUTS}, answers)
        self._check_batches(engine, golden["placed"])
        agreed = {name: float(f"{value:.3g}") for name, value in apart.items()}
        trial = outcome.chosen
        return dataclasses.replace(
            draft,
            agreement={**agreed, "against": "fp32", "images": len(golden["placed"]), "kind": "golden images"},
            judgement={**outcome.judgements[-1].to_dict(), "looks": len(outcome.judgements)},
            calibration=self.calibration.record(trial.method).to_artifact() if trial else {},
            speed=outcome.speed,
        )

    def _check_batches(self, engine: Engine, placed: Any) -> None:
        """Raises ConvertError where a graph that claims to take several images at once does not."""
        if self.bundle.manifest.batch is None:
            for name, value in engine.infer(placed[:2]).items():
                if len(value) != len(placed[:2]):
                    raise ConvertError(f"{name}: expected {len(placed[:2])} answers from a batch, got {len(value)}")

    def recipe_of(self, outcome: Outcome) -> QuantisationRecipe:
        """What makes the artifact again."""
        trial = outcome.chosen
        assert trial is not None
        target = outcome.name.partition("-")[2]
        drawn = self.calibration.drawn
        return QuantisationRecipe(
            target=target,
            method=trial.method,
            float=trial.floats,
            calibration=drawn.title,
            images=len(drawn),
            seed=drawn.seed,
            tensorrt=self.terms.tensorrt if target == "tensorrt" else None,
            weights=self.bundle.artifact().sha256,
            tried=tuple(each.to_dict() for each in outcome.search.trials) if outcome.search else (),
        )
