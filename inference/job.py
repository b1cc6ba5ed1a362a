"""What scoring whole videos has in common, whatever scores them: pictures, alarms, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.alarms import AlarmRule
from evaluation.checkpoint import origin
from evaluation.evaluate import Evaluation, Threshold
from inference.annotated import AnnotatedVideo
from inference.fitting import Recording
from inference.raised import with_alarms, write_alarms
from inference.results.kept_pictures import KeptPictures
from inference.video_cubes import VideoResult
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.files import digest
from visualization.gallery import choose_highlights
from visualization.publish import publish

Scored = Sequence[tuple[Recording, VideoResult]]


@dataclass(frozen=True)
class Job:
    """What is done with every video, and with all of them once they are scored.

    Attributes:
        predictor: a ``Predictor`` or ``SnippetPredictor``.
        threshold, rule: of alarms.
        output: folder of the results.
        with_video: also write the annotated videos.
    """

    predictor: Any
    threshold: Threshold | None
    rule: AlarmRule
    output: Path
    with_video: bool

    def evaluate(self, results: Sequence[VideoResult]) -> Evaluation:
        """Scores of videos, without labels."""
        raise NotImplementedError

    def count(self, results: Sequence[VideoResult]) -> str:
        """How many of what is scored in a frame videos have, in words."""
        raise NotImplementedError

    def drawing(self, recording: Recording) -> AnnotatedVideo:
        """What draws a video's frames."""
        annotator, alarms = self.predictor.annotator(self.threshold), self.predictor.config.alarms
        return AnnotatedVideo(
            self.output, recording.entry.name, recording.fps, annotator, self.threshold, alarms,
            self.with_video,
        )  # fmt: skip

    def publish(
        self,
        title: str,
        scored: Scored,
        evaluation: Evaluation,
        facts: Mapping[str, Any],
        explains_cubes: bool,
    ) -> None:
        """Write report, tables and ``alarms.json``.

        Args:
            title: heading of the report.
            scored: the videos.
            evaluation: of these videos.
            facts: for the report, beside the origin of checkpoint and videos.
            explains_cubes: the report shows what was expected of cubes.
        """
        entries, results = [each.entry for each, _ in scored], [result for _, result in scored]
        evaluation, stats = with_alarms(
            evaluation, self.rule, [each.fps for each, _ in scored], self.output,
            [each.seconds for each in results],
        )  # fmt: skip
        pictures = KeptPictures(results, self.predictor.explain)
        highlights = pictures.shown(choose_highlights(evaluation))
        publish(
            self.output, title, evaluation, self._origin(entries) | dict(facts),
            pictures.explain if explains_cubes else None, pictures.stills, highlights=highlights,
        )  # fmt: skip
        write_alarms(self.output, evaluation, stats)
        if self.with_video:
            echo(f"annotated videos: {self.output / 'annotated'}")

    def _origin(self, entries: Sequence[Any]) -> dict[str, Any]:
        fingerprint = digest([source_fingerprint(entry) for entry in entries])
        where = entries[0].source.parent
        return origin(self.predictor.path, self.predictor.checkpoint, where, fingerprint)
