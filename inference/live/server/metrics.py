"""The numbers of a live run in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.live.server.state import LiveState

_COUNTERS = {
    "captured": "Frames that the camera gave",
    "scored": "Frames that were scored",
    "dropped": "Frames that came too fast to be scored",
    "reconnections": "Times that the camera was lost and found again",
    "gaps": "Times that frames were missing inside the stream itself",
    "alarms": "Alarms that started",
}
_OF_FRAMES = ("captured", "scored", "dropped")


class _Run(Collector):
    def __init__(self, state: LiveState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        status = self._state.status()
        frame = self._state.latest_frame()
        names, labels = ["camera"], [status.name]
        for key, text in _COUNTERS.items():
            name = f"frames_{key}" if key in _OF_FRAMES else key
            counter = CounterMetricFamily(f"vad_{name}", text, labels=names)
            counter.add_metric(labels, getattr(status, key))
            yield counter
        gauges = {
            "vad_alarm_running": ("Whether an alarm is running", status.in_alarm),
            "vad_frames_per_second": ("Frames scored a second, lately", status.fps),
            "vad_score": ("Smoothed score of the latest frame", frame and frame[2]),
            "vad_latest_frame_timestamp_seconds": (
                "When that frame came",
                frame and frame[1],
            ),
            "vad_threshold": ("Alarms are frames from this score on", status.threshold),
        }
        for name, (text, value) in gauges.items():
            if value is not None:
                gauge = GaugeMetricFamily(name, text, labels=names)
                gauge.add_metric(labels, value)
                yield gauge
        yield self._latency(status.latency_p50_ms, status.latency_p99_ms, labels)

    def _latency(self, p50: float, p99: float, labels: list[str]) -> Metric:
        text = "From a frame's arrival to its score, lately"
        latency = GaugeMetricFamily("vad_latency_seconds", text, labels=["camera", "quantile"])
        for quantile, value in (("0.5", p50), ("0.99", p99)):
            latency.add_metric([*labels, quantile], value / 1000)
        return latency


def registry_of(state: LiveState) -> CollectorRegistry:
    """A registry that tells the numbers of a run as they are when it is asked."""
    registry = CollectorRegistry()
    registry.register(_Run(state))
    return registry


def metrics_text(registry: CollectorRegistry) -> bytes:
    """All metrics, text format 0.0.4."""
    return generate_latest(registry)
