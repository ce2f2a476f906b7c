"""What Prometheus scrapes of the streams (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from edgezoo.frame import State
from edgezoo.web.hub import Hub


class StreamMetrics:
    """Collected when they are asked for. Sources bear their addresses without logins."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterable[Metric]:
        states = GaugeMetricFamily("edgezoo_source_state", "1 for the state it is in", labels=["source", "state"])
        fps = GaugeMetricFamily("edgezoo_source_fps", "Frames a second, of the last two seconds", labels=["source"])
        age = GaugeMetricFamily(
            "edgezoo_source_frame_age_seconds",
            "From the grab to the result, the median of the last half second",
            labels=["source"],
        )
        frames = CounterMetricFamily(
            "edgezoo_frames",
            "Frames by what became of them: delivered, failed, or why dropped",
            labels=["source", "end"],
        )
        grabbed = CounterMetricFamily("edgezoo_frames_grabbed", "Frames that came", labels=["source"])
        back = CounterMetricFamily("edgezoo_source_reconnects", "How often it came back", labels=["source"])
        for source, counts in self._hub.figures.states():
            for state in get_args(State):
                states.add_metric([source.name, state], float(state == source.state))
            rate, middle, _ = source.points[-1] if source.points else (0.0, None, None)
            fps.add_metric([source.name], rate)
            if middle is not None:
                age.add_metric([source.name], middle / 1e3)
            if counts:
                ends = {"delivered": counts["delivered"], "failed": counts["failed"], **counts["dropped"]}
                for end, count in ends.items():
                    frames.add_metric([source.name, end], count)
                grabbed.add_metric([source.name], counts["grabbed"])
                back.add_metric([source.name], counts["reconnects"])
        return [states, fps, age, frames, grabbed, back]


def registry_of(hub: Hub) -> CollectorRegistry:
    """A registry of this server's own, with what is known of its streams."""
    registry = CollectorRegistry()
    registry.register(StreamMetrics(hub))
    return registry
