"""Writes generations so that what is said to be done is durable: results, fsync, commit, the chunk's mark.

One thread, off the engine's path. It gathers for at most a second, writes, fsyncs and commits, so a
generation is durable at most two seconds after it was put.
"""

import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from launch.rundir.journal import Journal, write_all
from launch.rundir.layout import EnginePaths
from launch.rundir.results import Committed, commit_line, result_line
from launch.rundir.storage_errors import storage_errors
from launch.scenarios.records import Generation

GATHER_S = 1.0


@dataclass(frozen=True, slots=True)
class _ChunkOpened:
    """From now on these items, not settled yet, belong to a chunk."""

    chunk: int
    items: frozenset[int]


class ResultWriter:
    """The sole writer of one engine start's results and commits."""

    def __init__(self, paths: EnginePaths, settings: str, mark_done: Callable[[int], None]) -> None:
        self._settings = settings
        self._mark_done = mark_done
        self._path = paths.results
        with storage_errors(paths.results):
            self._results = os.open(paths.results, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._commits = Journal(paths.commits)
        self._offset = 0
        self._queue: queue.SimpleQueue[Generation | _ChunkOpened | None] = queue.SimpleQueue()
        self._chunk_of: dict[int, int] = {}
        self._open_items: dict[int, int] = {}
        self.num_done = 0
        self.num_failed = 0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def open_chunk(self, chunk: int, items: Iterable[int]) -> None:
        """Announces the items of a claimed chunk that are still to settle; before any of them is put."""
        self._queue.put(_ChunkOpened(chunk, frozenset(items)))

    def put(self, generation: Generation) -> None:
        """Takes a finished item; raises what stopped the writer, if something did."""
        self.check()
        self._queue.put(generation)

    def check(self) -> None:
        """Raises what stopped the writer: a full disk, or a bug."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Returns when all that was put is durable and committed; raises what stopped the writer."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._results)
        self._commits.close()
        self.check()

    def _run(self) -> None:
        try:
            while self._write_some():
                pass
        except BaseException as error:  # noqa: BLE001  handed to the main thread, which ends the process
            self.error = error

    def _write_some(self) -> bool:
        """Gathers, writes and commits once; False after the end mark."""
        entries = [self._queue.get()]
        until = time.monotonic() + GATHER_S
        while entries[-1] is not None:
            left = until - time.monotonic()
            try:
                entries.append(self._queue.get(timeout=max(left, 0)))
            except queue.Empty:
                break
        finished: list[int] = []
        generations: list[Generation] = []
        for entry in entries:
            if isinstance(entry, Generation):
                generations.append(entry)
            elif entry is not None:
                self._open(entry, finished)
        self._commit(generations, finished)
        for chunk in finished:
            self._mark_done(chunk)
        return entries[-1] is not None

    def _open(self, opened: _ChunkOpened, finished: list[int]) -> None:
        self._open_items[opened.chunk] = len(opened.items)
        self._chunk_of.update(dict.fromkeys(opened.items, opened.chunk))
        if not opened.items:
            finished.append(opened.chunk)

    def _commit(self, generations: list[Generation], finished: list[int]) -> None:
        if not generations:
            return
        lines, committed = [], []
        for generation in generations:
            line = result_line(generation, self._settings)
            lines.append(line)
            committed.append(
                Committed(
                    number=generation.number,
                    offset=self._offset,
                    length=len(line),
                    crc32=zlib.crc32(line),
                    num_prompt_tokens=generation.num_prompt_tokens,
                    num_output_tokens=generation.num_output_tokens,
                    failed=generation.failure is not None,
                    time=None,
                )
            )
            self._offset += len(line)
        with storage_errors(self._path):
            write_all(self._results, b"".join(lines))
            os.fsync(self._results)
        # Beside each other: with the name of the commits that of the results is durable.
        self._commits.append(commit_line(time.time(), committed), durable=True)
        for generation in generations:
            self._settle(generation, finished)

    def _settle(self, generation: Generation, finished: list[int]) -> None:
        if generation.failure is None:
            self.num_done += 1
        else:
            self.num_failed += 1
        chunk = self._chunk_of.pop(generation.number)
        self._open_items[chunk] -= 1
        if not self._open_items[chunk]:
            finished.append(chunk)
