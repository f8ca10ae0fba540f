"""What the page of a large run costs to make, and how fast it opens and filters in Chromium.

    python -m benchmarks.run_page [--items 100000] [--tasks 1000] [--rounds 5] [--scratch DIR] [--out FILE]

A finished run is made through the code of the package (large_run.py), with readings of a GPU a task, and
merged. Then its page is made in a process of its own, and opened in a headless Chromium from file://, each
round in a new profile, by the page's own clock: until it is loaded (the samples are listed then), until the
first chart is drawn, and from typing a search, in Chinese and in English, until its answer is shown (120 ms
of that it waits for more keys). Shown is the median of rounds; the JSON has all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.large_run import LOADING_S, make_large_run
from benchmarks.merge_scale import watched
from benchmarks.record import write_record
from launch.collect.merge import merge
from launch.collect.run_page.write import write_run_page
from launch.rundir.attempt_files import read_about, read_ended
from launch.rundir.journal import json_line
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.worker.gpu_lines import Folder
from tests.browser.chromium import SCREEN, open_browser, visit

ROOT = Path(__file__).resolve().parent.parent
LIMIT_BYTES, LIMIT_MS = 10_000_000, 2_000
QUERIES = {"filter_zh_ms": "电影", "filter_en_ms": "the her"}
ASK = """query => new Promise(done => {
  const search = document.getElementById("sample-search"), count = document.getElementById("sample-count");
  const began = performance.now();
  new MutationObserver((_, observer) => { observer.disconnect(); done(performance.now() - began); })
    .observe(count, { childList: true });
  search.value = query;
  search.dispatchEvent(new Event("input"));
})"""
CHART = "[data-chart=phases] .plot[data-drawn]"
NOTE_CHART = f"""new MutationObserver((_, observer) => {{
  if (!document.querySelector("{CHART}")) return;
  observer.disconnect();
  window.firstChart = performance.now();
}}).observe(document, {{ subtree: true, attributes: true, attributeFilter: ["data-drawn"] }})"""
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Makes, opens, prints a table, writes the JSON; as its own child it makes the page and tells of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where the run is made; a temporary directory")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/run-page.json")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        print(json.dumps(watched(do_make, args.make, 0)))
        return
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        found = measure(Path(scratch) / "at", args.items, args.tasks, args.rounds)
    write_record(args.out, found)
    print(describe(found))


def measure(place: Path, num_items: int, num_tasks: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    run = make_large_run(place, num_items, num_tasks)
    for path in run.tasks.rglob("attempt.json"):
        write_readings(AttemptPaths(path.parent))
    published = merge(run).output_dir
    command = [sys.executable, "-m", "benchmarks.run_page", "--make", str(place)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    page = published / "run.html"
    return {
        "items": num_items,
        "tasks": num_tasks,
        "page_bytes": page.stat().st_size,
        "timeline_bytes": (published / "timeline.json").stat().st_size,
        "make": json.loads(done.stdout),
        "opened": [open_once(page) for _ in range(rounds)],
    }


def write_readings(paths: AttemptPaths) -> None:
    """gpu.jsonl with a reading a second of one GPU while the attempt lived."""
    began = read_about(paths)["started"]
    ended = (read_ended(paths) or {}).get("ended", began + 60)
    folder = Folder()
    lines: list[dict[str, Any]] = [{"time": began, "devices": [{"id": "0", "name": "made up"}]}]
    for second in range(int(ended - began)):
        busy = 0 if second < LOADING_S else 90 + second % 7
        row = {"utilization_percent": busy, "memory_used_mib": 70_000.0, "power_w": 300.0 + busy}
        lines.append({"time": began + second, "gpus": folder.fold([row])})
    paths.gpu.write_bytes(b"".join(map(json_line, lines)))


def do_make(place: Path, _: int) -> int:
    """As a merge does it when it has published; bytes of the page."""
    run = RunPaths(place / "runs" / "run")
    return write_run_page(place / "published", run).stat().st_size


def open_once(page: Path) -> dict[str, float]:
    """Milliseconds, from a new profile."""
    with open_browser() as browser, visit(browser, page, SCREEN, watcher=NOTE_CHART) as seen:
        loaded = seen.page.evaluate(LOADED)
        seen.page.wait_for_selector(CHART)
        charted = seen.page.evaluate("window.firstChart")
        asked = {name: seen.page.evaluate(ASK, query) for name, query in QUERIES.items()}
    return {"loaded_ms": loaded, "first_chart_ms": charted, **asked}


def describe(found: dict[str, Any]) -> str:
    """The table."""
    rows = [
        ("items, tasks", f"{found['items']:,}, {found['tasks']:,}", ""),
        ("made in", f"{found['make']['wall_s']:.1f} s, {found['make']['peak_mib']:,.0f} MiB", ""),
        ("page", f"{found['page_bytes'] / 1e6:.2f} MB", f"limit {LIMIT_BYTES / 1e6:.0f} MB"),
        ("timeline.json", f"{found['timeline_bytes'] / 1e6:.2f} MB", ""),
    ]
    for name in found["opened"][0]:
        values = [each[name] for each in found["opened"]]
        rows.append(
            (name, f"{statistics.median(values):,.0f}", f"worst {max(values):,.0f}; limit {LIMIT_MS:,}")
        )
    return "\n".join(f"{name:<16}{value:>20}  {more}" for name, value, more in rows)


if __name__ == "__main__":
    main()
