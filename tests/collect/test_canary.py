"""What no engine judged in time is judged by the merge, when that is due."""

from launch.collect.canary import canary_at_the_end
from launch.config.schema import CanaryAction, CanaryConfig
from launch.rundir.canary import CanaryRecord, keep_canary, read_canary
from launch.rundir.layout import RunPaths
from tests.collect.builders import make_generations, write_results


def test_a_whole_run_is_judged_however_small(run: RunPaths) -> None:
    write_results(run, make_generations(run, failed=[3]))
    record = canary_at_the_end(run, CanaryConfig(), 1)
    assert record is not None and record == read_canary(run)
    assert (record.num_items, record.judged_by, record.stops) == (11, "merge", False)


def test_a_run_without_enough_is_left_for_a_resume(run: RunPaths) -> None:
    assert canary_at_the_end(run, CanaryConfig(), 1) is None
    write_results(run, make_generations(run)[:9])
    assert canary_at_the_end(run, CanaryConfig(num_items=10), 1) is None and not run.canary.exists()
    record = canary_at_the_end(run, CanaryConfig(num_items=9), 1)
    assert record is not None and record.num_items == 9


def test_nothing_is_stopped_at_the_end(run: RunPaths) -> None:
    write_results(run, make_generations(run, says="")[:9])
    strict = CanaryConfig(num_items=9, action=CanaryAction.STOP, max_trimmed_rate=0.0)
    record = canary_at_the_end(run, strict, 1)
    assert record is not None and record.found and not record.stops


def test_what_was_judged_is_not_judged_again_and_none_judges_nothing(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    assert canary_at_the_end(run, CanaryConfig(action=CanaryAction.NONE), 1) is None
    first = CanaryRecord(1, 5, {}, ("bad",), True, "submission 1, task 0", 1.0)
    keep_canary(run, first)
    assert canary_at_the_end(run, CanaryConfig(), 1) == first
