"""Candidates for an artifact of a reduced precision: made, judged, and timed until one of them holds.

A proof is of the machine that it was made on: what integers answer depends on the CPU's instruction sets, which are
told with it. On another kind of CPU, `verify` says how far the answers are from those kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from edgezoo import graphs
from edgezoo.bundle import Artifact, Bundle
from edgezoo.convert import write
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, ConvertError, MissingDependency
from edgezoo.imagesets import Drawn
from edgezoo.machine import instruction_sets, machine
from edgezoo.measure.gate import Exam, examine, judge
from edgezoo.measure.race import race
from edgezoo.reduce import calibration
from edgezoo.reduce.batches import check_batches
from edgezoo.reduce.calibration import Calibration
from edgezoo.reduce.half import half
from edgezoo.reduce.recipe import QuantisationRecipe, check_images, check_layers, check_weights, hash_of
from edgezoo.reduce.regions import plain
from edgezoo.reduce.search import SAMPLES, Search, Subject, Tell, Trial, run_each, search
from edgezoo.reduce.terms import Outcome, Terms
from edgezoo.tasks import task

LOOKS = 5
"""Candidates that are put to the gate at most: who looks often finds by chance what is not there."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    graph: bytes | None
    trial: Trial | None = None


class Workshop:
    """What the artifacts of one bundle share: the calibration, the images to judge by, fp32's answers."""

    def __init__(self, bundle: Bundle, terms: Terms, tell: Tell, *, calibrates: bool = True) -> None:
        """`calibrates`: whether any of the artifacts to be made does; else no image counts as seen."""
        self.bundle, self.terms, self._tell, self._calibrates = bundle, terms, tell, calibrates
        if terms.recipe is not None:
            check_weights(terms.recipe, bundle.artifact().sha256)
        self.graph = bundle.read_graph(bundle.artifact())
        self.model = plain(graphs.parse(self.graph))
        self.fp32 = Engine(bundle)

    def close(self) -> None:
        self.fp32.close()

    def _take(self, count: int, stretch: tuple[float, float] = calibration.TO_SEE) -> Drawn:
        self._tell("looking for images", 0, 0)
        terms, recipe = self.terms, self.terms.recipe
        seed = recipe.seed if recipe else terms.seed
        return calibration.draw(
            terms.source,
            terms.data,
            self.bundle.manifest,
            count=count,
            seed=seed,
            recipe=recipe,
            stretch=stretch,
            progress=lambda name, done, total: self._tell(f"fetching {name}", done, total or 0),
        )

    @cached_property
    def others(self) -> Drawn | None:
        """Images to judge by where none are labelled; calibration may have seen some of them."""
        return self._take(2 * self._images, calibration.TO_JUDGE) if self.terms.data is None else None

    @property
    def _images(self) -> int:
        return self.terms.recipe.images if self.terms.recipe else self.terms.images

    @cached_property
    def drawn(self) -> Drawn:
        """Images to calibrate with: a recipe's own, else no more than half of those that there are to judge by."""
        recipe, count = self.terms.recipe, self._images
        if self.others is not None and recipe is None and not self.others.video:
            count = min(count, max(1, len(self.others) // 2))
        drawn = self._take(count)
        if recipe is not None:
            check_images(recipe, drawn)
        calibration.check_enough(drawn)
        if self.others is not None:
            calibration.check_left(drawn, self.others)
        return drawn

    @cached_property
    def calibration(self) -> Calibration:
        recipe, terms = self.terms.recipe, self.terms
        return calibration.measured(
            self.bundle,
            self.model,
            self.drawn,
            methods=(recipe.method,) if recipe else terms.methods,
            file=terms.ranges,
            progress=self._counting("calibrating", then="finding the ranges of tensors"),
        )

    @cached_property
    def exam(self) -> Exam:
        """Images that calibration did not see."""
        leave_out = frozenset(self.drawn.hashes.values() if self._calibrates else ())
        found = examine(
            self.fp32.infer,
            self.bundle.manifest,
            self.terms.data,
            drawn=self.others,
            leave_out=leave_out,
            progress=self._counting("asking fp32 about images to judge by"),
        )
        of_video = self.others is not None and self.others.video
        return dataclasses.replace(found, data=f"{found.data}, the last third of its frames") if of_video else found

    @cached_property
    def rehearsal(self) -> Exam:
        """The images that calibration saw: the search may look at these."""
        progress = self._counting("asking fp32 about the calibration images")
        return examine(self.fp32.infer, self.bundle.manifest, drawn=self.drawn, progress=progress)

    def _counting(self, what: str, *, then: str = "") -> Callable[[int, int], None]:
        """Progress that is told as `what`, and when all is done as `then`."""
        return lambda done, total: self._tell(then, 0, 0) if then and done == total else self._tell(what, done, total)

    def make(self, name: str) -> Outcome:
        """One artifact, or why there is none: what is wrong with one does not discard the others.

        Raises what is wrong with the request, its images or their calibration; of the one artifact of a recipe, all.
        """
        outcome = Outcome(name=name)
        if not name.startswith("bf16"):
            _ = self.calibration
        try:
            self._make(outcome)
        except (ConvertError, BackendError) as error:
            if self.terms.recipe is not None:
                raise
            outcome.artifact = outcome.graph = None
            outcome.why = str(error)
        return outcome

    def _make(self, outcome: Outcome) -> None:
        draft = self._draft(outcome.name)
        for candidate in islice(self._candidates(outcome), LOOKS):
            with closing(self._opened(draft, candidate.graph)) as engine:
                if self._holds(engine, candidate, outcome):
                    outcome.artifact = self._finished(draft, outcome, engine)
                    outcome.graph, outcome.why = candidate.graph, ""
                    return

    def _holds(self, engine: Engine, candidate: _Candidate, outcome: Outcome) -> bool:
        """Whether a candidate is within the budget and, where that can be measured, no slower than fp32."""
        exam, name, look = self.exam, outcome.name, len(outcome.judgements) + 1
        progress = self._counting(f"{name}: judging candidate {look}")
        found = judge(exam, engine.infer, max_drop=self.terms.max_drop, progress=progress)
        outcome.chosen, outcome.speed, outcome.judged_on = candidate.trial, {}, engine.runs.backend
        outcome.judgements.append(found)
        if not found.ok:
            outcome.why = found.why or f"over the budget: {found.drop:.2f} points, {found.max_drop:g} at most"
            return False
        if engine.runs.backend == engine.artifact.target:
            outcome.speed = self._speed(engine, f"{name}: timing it against fp32")
        if outcome.slower and not self.terms.keep_slower:
            outcome.why = f"slower than fp32: {outcome.speed['ratio']:.2f} times as fast"
            return False
        return True

    def _candidates(self, outcome: Outcome) -> Iterator[_Candidate]:
        precision, _, target = outcome.name.partition("-")
        if precision == "bf16":
            yield _Candidate(None)
        elif precision == "fp16":
            yield _Candidate(half(self.model, ranges=self.calibration.extremes).graph.SerializeToString())
        else:
            yield from self._in_integers(target, outcome)

    def _in_integers(self, target: str, outcome: Outcome) -> Iterator[_Candidate]:
        samples = list(islice(self.calibration.drawn.placed(self.bundle.manifest.input), SAMPLES))
        options: dict[str, Any] = {}
        if target == "tensorrt":
            options = {"oldest": self.terms.tensorrt, "seen": self.calibration.extremes}
        subject = Subject(self.model, target, self.calibration.ranges, samples, **options)
        recipe = self.terms.recipe
        if not subject.layers:
            outcome.why = f"there is no layer that would be faster in INT8 on {target}"
        elif recipe is not None:
            check_layers(recipe, subject.layers)
            trial = Trial(method=recipe.method, floats=recipe.float, harm=subject.harm(recipe.method, recipe.float))
            yield _Candidate(subject.graph(trial.method, trial.floats), trial)
        elif self.terms.keep_slower or not self._all_integers_lose(subject, target, outcome):
            outcome.search = Search()
            for trial in self._searched(subject, outcome.name, outcome.search):
                yield _Candidate(subject.graph(trial.method, trial.floats), trial)

    def _searched(self, subject: Subject, name: str, found: Search) -> Iterator[Trial]:
        def drop_of(graph: bytes) -> float:
            with closing(self._opened(self._draft(name), graph)) as engine:
                # The low end: one image of forty that changes its class is two points and a half, and says nothing.
                return judge(self.rehearsal, engine.infer, max_drop=self.terms.max_drop).low

        return search(
            subject,
            found,
            drop_of=drop_of,
            max_drop=self.terms.max_drop,
            minutes=self.terms.minutes,
            tell=lambda text, done, total: self._tell(f"{name}: {text}", done, total),
        )

    def _all_integers_lose(self, subject: Subject, target: str, outcome: Outcome) -> bool:
        """Whether fp32 is faster than the graph with no layer in float: freeing layers seldom makes a graph faster."""
        method = next(iter(subject.ranges))  # whichever: ranges are numbers in the same nodes
        with closing(self._opened(self._draft(outcome.name), subject.graph(method, ()))) as engine:
            if engine.runs.backend != target:
                return False
            outcome.speed = self._speed(engine, f"{outcome.name}: timing all layers in INT8 against fp32")
        if outcome.slower:
            ratio = outcome.speed["ratio"]
            outcome.why = f"slower than fp32 with every layer in INT8: {ratio:.2f} times as fast, so none was freed"
        return outcome.slower

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
        """The candidate on its target where that is here, else on ONNX Runtime, whose answers are near."""
        graph = self.graph if graph is None else graph
        if draft.target in ("", "onnxruntime", "tensorrt"):
            return self.fp32.over(graph, draft, backend="onnxruntime")
        try:
            return self.fp32.over(graph, draft, backend=draft.target)
        except MissingDependency:
            if draft.options:
                raise
            return self.fp32.over(graph, draft, backend="onnxruntime")

    def _speed(self, engine: Engine, what: str) -> dict[str, Any]:
        """Against fp32 on the same runtime, in turns."""
        runs = engine.runs
        with closing(self.fp32.over(self.graph, self.bundle.artifact(), backend=runs.backend)) as fp32:
            ms, (against,) = race(engine, [fp32], progress=self._counting(what))
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
        fp32 = {name: golden[f"out_{name}"] for name in meaning.OUTPUTS}
        answers = run_each(engine.backend, list(golden["placed"]))
        apart = meaning.difference(fp32, answers)
        if self.bundle.manifest.batch is None:
            check_batches(engine, golden["placed"], answers, fp32)
        agreed = {name: float(f"{value:.3g}") for name, value in apart.items()}
        # What integers answer depends on the CPU: without VNNI, ONNX Runtime's sums of bytes saturate.
        on = "; ".join(filter(None, [str(engine.runs), " ".join(instruction_sets())]))
        trial = outcome.chosen
        method = trial.method if trial else calibration.EXTREMES if draft.precision == "fp16" else None
        return dataclasses.replace(
            draft,
            agreement={**agreed, "against": "fp32", "images": len(golden["placed"]), "kind": "golden images"},
            judgement={**outcome.judgements[-1].to_dict(), "looks": len(outcome.judgements), "on": on},
            calibration=self.calibration.record(method).to_artifact() if method else {},
            speed=outcome.speed,
        )

    def recipe_of(self, outcome: Outcome) -> QuantisationRecipe:
        """What makes the artifact again."""
        trial = outcome.chosen
        assert trial is not None
        target = outcome.name.partition("-")[2]
        drawn, given = self.calibration.drawn, self.terms.recipe
        tried = [each.to_dict() for each in outcome.search.trials] if outcome.search else given.tried if given else ()
        return QuantisationRecipe(
            target=target,
            method=trial.method,
            float=trial.floats,
            calibration=drawn.title,
            images=len(drawn),
            seed=drawn.seed,
            images_sha256=hash_of(drawn),
            tensorrt=self.terms.tensorrt if target == "tensorrt" else None,
            weights=self.bundle.artifact().sha256,
            tried=tuple(tried),
        )
