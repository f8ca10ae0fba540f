"""The requests of a run, as its engine processes make them of the run directory."""

from collections.abc import Iterator

from launch.rundir.layout import RunPaths
from launch.rundir.plan import PlanReader, read_index
from launch.rundir.records import load_run, load_submission, run_config
from launch.scenarios.history import leave_out_test_items
from launch.scenarios.records import Request
from launch.worker.chunk_requests import planned_item
from launch.worker.requests import open_request_maker


def requests_of(run: RunPaths) -> Iterator[Request]:
    """Every request, in order of items; each item must become one."""
    record = load_run(run)
    make_request = open_request_maker(run, record, run_config(record, load_submission(run, 1)))
    plan = PlanReader(run)
    try:
        for entry in read_index(run):
            user = plan.user(entry.span)
            history, _ = leave_out_test_items(plan.history(entry.history_span), user.record)
            for number in range(entry.first_item, entry.first_item + entry.num_items):
                made = make_request(user, planned_item(user, number), history)
                assert isinstance(made, Request)
                yield made
    finally:
        plan.close()
