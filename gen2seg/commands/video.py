"""`gen2seg video`: objects of a video file or a camera, each in a colour that lasts."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from gen2seg.commands.options import bundle_option, emit, json_option, open_progress, refuse_own_inputs


@click.command("video")
@click.argument("source", metavar="IN")
@bundle_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Video to write: NAME.avi, NAME.mp4 or NAME.mkv.",
)
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Of the output; default: as the source says.")
@click.option(
    "--drop/--all", default=None, help="Skip frames to keep up, or take all. Default: files all, cameras drop."
)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Weight of the colours.")
@json_option
def command(
    source: str,
    bundle: Path | None,
    output: Path,
    frames: int | None,
    fps: float | None,
    drop: bool | None,
    alpha: float,
    as_json: bool,
) -> int:
    """Objects of a video, drawn over it; an object keeps its colour while it stays in view.

    IN is a file or the number of a camera (0 is the first). A camera runs until --frames or Ctrl-C; what was
    written until then is kept.

    \b
    Examples:
      gen2seg video clip.mp4 -o objects.mp4
      gen2seg video clip.mp4 -o objects.avi --frames 100 --json
      gen2seg video 0 -o camera.avi --frames 300
    """
    if not source.isdecimal():
        refuse_own_inputs([Path(source)], [output])
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.formats import overlay
    from gen2seg_runtime.stream.video import VideoFrames, write_video

    totals: dict[str, float] = {}
    dropped, ages, numbers = 0, [], set()
    with VideoFrames(int(source) if source.isdecimal() else source) as video:
        segmenter = Segmenter.open(bundle)
        skip = video.is_camera if drop is None else drop
        total = min(filter(None, (frames, video.count)), default=None)
        with (
            write_video(output, fps or video.fps) as writer,
            segmenter.stream(video, drop=skip) as stream,
            open_progress() as progress,
            _interruptible() if video.is_camera else nullcontext(),
        ):
            task = progress.add_task("video", total=total)
            for result in stream:
                writer.add(overlay(result.image, result.tracked.labels, alpha))
                for stage, seconds in result.timings.items():
                    totals[stage] = totals.get(stage, 0.0) + seconds
                dropped += result.dropped
                ages.append(result.age)
                numbers.update(result.tracked.ids)
                progress.update(task, completed=result.index + 1)
                if writer.frames == frames:
                    break
        written = writer.frames
    document: dict[str, Any] = {
        "source": source,
        "output": str(output),
        "frames": written,
        "dropped": dropped,
        "objects": len(numbers),
        "mean_age": sum(ages) / max(1, len(ages)),
        "seconds": {stage: seconds / max(1, written) for stage, seconds in totals.items()},
    }
    stages = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in document["seconds"].items())
    text = f"{output}: {written} frames ({dropped} skipped), {len(numbers)} objects; per frame {stages}"
    emit(document, text, as_json)
    return 0


class _interruptible:
    """Ctrl-C ends the block instead of the program: a camera has no other end."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, KeyboardInterrupt)
