"""The writer writes, indexes and reports accepted records; failures lose and duplicate none."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from mikroscope.errors import IngestError, MikroScopeError, StoreError
from mikroscope.indexing import writer_thread as worker_module
from mikroscope.indexing.writer_thread import WriterThread
from mikroscope.logfiles.appender import LogAppender
from mikroscope.query.model import Query
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.stores import FlakyStore, StoreWrapper, all_entries, lines, number_of
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.workplace import INGEST, GatedStore, Workplace, done, some, submit

# --- submit -------------------------------------------------------------------------------


def test_a_submission_that_is_done_is_in_its_file_and_findable(workplace: Workplace) -> None:
    """When a submission is done, its record is in the file and the next query finds it."""
    worker = workplace.work()
    for number in range(5):
        done(submit(worker, some(number)))
        assert workplace.numbers(INGEST) == list(range(number + 1))
        assert workplace.content() == lines(*range(number + 1))


def test_submissions_that_come_together_are_committed_together(workplace: Workplace) -> None:
    """Submissions that arrive during a write share the next transaction."""
    submissions: list[Future[None]] = []

    def submit_many(commit: int) -> None:
        if commit == 1:
            submissions.extend(
                submit(workplace.worker, some(number, path=f"ingest/{number % 7}/x.ndjson"))
                for number in range(1, 100)
            )

    store = GatedStore(workplace.store, submit_many)
    worker = workplace.work(store, interval_s=None)
    done(submit(worker, some(0)))
    for submission in submissions:
        done(submission)
    assert workplace.numbers() == list(range(100))
    assert store.commits == 2


def test_a_round_is_bounded(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker divides a flood of submissions into several transactions and completes all."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_ROUND_BYTES", 100)
    submissions: list[Future[None]] = []

    def submit_many(commit: int) -> None:
        if commit == 1:
            submissions.extend(submit(workplace.worker, some(number)) for number in range(1, 50))

    store = GatedStore(workplace.store, submit_many)
    worker = workplace.work(store)
    done(submit(worker, some(0)))
    for submission in submissions:
        done(submission)
    assert workplace.numbers() == list(range(50))
    assert store.commits > 5


def test_submissions_keep_their_order(workplace: Workplace) -> None:
    """Submissions keep their order in the file and in the index."""
    worker = workplace.work()
    for submission in [submit(worker, some(2 * number, 2 * number + 1)) for number in range(50)]:
        done(submission)
    assert workplace.content() == lines(*range(100))
    assert [entry.line_number for entry in reversed(workplace.entries())] == list(range(1, 101))


def test_what_a_crash_left_half_written_stays_alone(workplace: Workplace) -> None:
    """After a crash left half a line, the next record begins on a line of its own."""
    workplace.write(INGEST, lines(1) + b'{"n":2,"half')
    worker = workplace.work()
    done(submit(worker, some(3)))
    assert workplace.numbers() == [1, 3]
    wait_until(lambda: worker.stats.parse_errors == 1)


def test_a_file_may_be_rotated_between_submissions(workplace: Workplace) -> None:
    """If a file is rotated between two submissions, queries find both, each in its file."""
    worker = workplace.work()
    done(submit(worker, some(1)))
    workplace.rename(INGEST, f"{INGEST}.1")
    done(submit(worker, some(2)))
    assert workplace.by_path() == {f"{INGEST}.1": [1], INGEST: [2]}


# --- the queue ----------------------------------------------------------------------------


def test_what_is_queued_waits_for_the_flush(workplace: Workplace) -> None:
    """A queued record waits for the flush and is counted as queued until then."""
    worker = workplace.work_ready()
    worker.enqueue(some(1, 2))
    worker.enqueue(some(3))
    assert worker.pending() == (2, 3)
    assert worker.queue_status.records_queued == 3
    done(submit(worker, some(4, path="ingest/other/x.ndjson")))  # flushes, handling the file anyway
    assert workplace.numbers() == [1, 2, 3, 4]


def test_the_queue_is_flushed_in_time(workplace: Workplace) -> None:
    """The worker flushes the queue at its interval, without a request."""
    worker = workplace.work(flush_s=0.01)
    worker.enqueue(some(1, 2))
    wait_until(lambda: workplace.store.count(Query()) == 2)
    wait_until(lambda: worker.queue_status.records_flushed == 2)
    assert worker.pending() == (0, 0)
    assert worker.queue_status.last_flush_ms is not None


def test_stopping_writes_and_indexes_what_is_queued(workplace: Workplace) -> None:
    """A stop writes and indexes queued records and pending submissions."""
    worker = workplace.work_ready()
    worker.enqueue(some(1, 2))
    submission = submit(worker, some(3))
    worker.enqueue(some(4))
    worker.stop()
    done(submission)
    assert workplace.numbers() == [1, 2, 3, 4]
    assert (worker.pending(), worker.draining) == ((0, 0), False)


def test_a_worker_that_stops_takes_nothing_more(workplace: Workplace) -> None:
    """A stopping worker refuses submissions (HTTP 503), so the client can retry."""
    worker = workplace.work()
    worker.stop()
    for take in (partial(submit, worker), worker.enqueue):
        with pytest.raises(IngestError, match="stopping") as refused:
            take(some(1))
        assert refused.value.status == 503
    assert workplace.content() == b""


def test_a_full_queue_refuses(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue refuses records (HTTP 503), keeps accepted ones and has space after a flush."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_PENDING_BYTES", 10)
    worker = workplace.work_ready()
    worker.enqueue(some(1))
    with pytest.raises(IngestError, match="full") as refused:
        worker.enqueue(some(2))
    assert refused.value.status == 503
    assert worker.queue_status.records_queued == 1
    worker.stop()
    assert workplace.numbers() == [1]


# --- failures -----------------------------------------------------------------------------


class UnexpectedError(Exception):
    """A bug in the store."""


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
@pytest.mark.parametrize("refresh_fails", [False, True], ids=["", "sources-too"])
@pytest.mark.parametrize("error", [StoreError("full"), UnexpectedError("a defect")], ids=type)
def test_a_submission_that_cannot_be_indexed_fails_and_leaves_nothing(
    workplace: Workplace, error: Exception, refresh_fails: bool, late: bool
) -> None:
    """A submission that cannot be indexed fails and leaves nothing, so a retry adds it once."""
    store = FlakyStore(workplace.store, [2], late=late, refresh_fails=refresh_fails, error=error)
    worker = workplace.work(store, interval_s=None)
    done(submit(worker, some(1)))
    with pytest.raises(type(error), match=str(error)):
        done(submit(worker, some(2)))
    assert workplace.content() == lines(1)
    done(submit(worker, some(3)))
    assert workplace.numbers() == [1, 3]
    assert workplace.content() == lines(1, 3)


def test_all_submissions_of_a_failed_round_fail(workplace: Workplace) -> None:
    """If a round fails, the submissions for all its files fail and none is indexed later."""
    submissions: list[Future[None]] = []

    def fail_the_second(commit: int) -> None:
        if commit == 1:
            submissions.extend(
                submit(workplace.worker, some(number, path=f"ingest/{number}/x.ndjson"))
                for number in range(1, 9)
            )
        if commit == 2:
            raise StoreError("the disk is on fire")

    worker = workplace.work(GatedStore(workplace.store, fail_the_second), interval_s=None)
    done(submit(worker, some(0)))
    for submission in submissions:
        with pytest.raises(StoreError):
            done(submission)
    done(submit(worker, some(9)))
    worker.stop()
    assert workplace.numbers() == [0, 9]
    assert {file.read_bytes() for file in workplace.logs.glob("ingest/?/x.ndjson")} == {b""}


def test_a_failure_is_told_and_forgotten_when_all_is_well(workplace: Workplace) -> None:
    """The state for /health shows a failure until the next success."""
    workplace.write("a.ndjson", lines(1))
    store = FlakyStore(workplace.store, range(1, 1_000_000))
    worker = workplace.work(store)
    wait_until(lambda: worker.run.last_error == "the disk is on fire")
    assert not worker.run.running
    store.losses = ()
    wait_until(lambda: worker.run.runs == 1)
    assert worker.run.last_error is None
    assert workplace.numbers() == [1]
    assert worker.stats.records_inserted == 1


def test_a_lasting_failure_does_not_flood_the_log(
    workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    """A lasting failure is retried again and again but logged once."""
    workplace.write("a.ndjson", lines(1))
    store = FlakyStore(workplace.store, range(1, 20))
    worker = workplace.work(store)
    wait_until(lambda: worker.run.runs == 1)
    assert [one.levelno for one in caplog.records].count(logging.ERROR) == 1


@pytest.mark.parametrize("refresh_fails", [False, True])
def test_queued_records_survive_a_store_that_fails(
    workplace: Workplace, refresh_fails: bool
) -> None:
    """If the store fails, queued records are still indexed, exactly once."""
    store = FlakyStore(workplace.store, range(1, 6), refresh_fails=refresh_fails)
    worker = workplace.work(store, flush_s=0.001)
    for number in range(20):
        worker.enqueue(some(number))
    wait_until(lambda: store.raised >= 5)
    for number in range(20, 40):
        worker.enqueue(some(number))
    wait_until(lambda: workplace.store.count(Query()) >= 40)
    worker.stop()
    assert workplace.numbers() == list(range(40))
    assert workplace.content() == lines(*range(40))


def test_queued_records_that_cannot_be_indexed_at_the_end_are_in_their_file(
    workplace: Workplace,
) -> None:
    """Queued records that cannot be indexed at the stop are in their file for the next start."""
    worker = workplace.work(FlakyStore(workplace.store, range(1, 1_000)), interval_s=None)
    worker.enqueue(some(1, 2))
    worker.stop()
    assert workplace.content() == lines(1, 2)
    workplace.index()
    assert workplace.numbers() == [1, 2]


def block(workplace: Workplace, producer: str) -> Path:
    """Make it impossible to create a producer's directory."""
    return workplace.write(f"ingest/{producer}", b"")


def test_a_submission_that_cannot_be_written_fails_alone(workplace: Workplace) -> None:
    """A submission that cannot be written fails alone; those for other files succeed."""
    block(workplace, "bad")
    submissions: list[Future[None]] = []

    def submit_both(commit: int) -> None:
        if commit == 1:
            submissions.append(submit(workplace.worker, some(1, path="ingest/bad/x.ndjson")))
            submissions.append(submit(workplace.worker, some(2)))

    worker = workplace.work(GatedStore(workplace.store, submit_both), interval_s=None)
    done(submit(worker, some(0)))
    with pytest.raises(StoreError, match=r"ingest/bad/x\.ndjson cannot be written"):
        done(submissions[0])
    done(submissions[1])
    assert workplace.numbers() == [0, 2]


def test_queued_records_wait_until_they_can_be_written(workplace: Workplace) -> None:
    """Queued records wait in order until they can be written; other files do not wait."""
    obstacle = block(workplace, "bad")
    worker = workplace.work(flush_s=0.001)
    for number in range(5):
        worker.enqueue(some(number, path="ingest/bad/x.ndjson"))
    worker.enqueue(some(9))
    wait_until(lambda: workplace.numbers() == [9])
    wait_until(lambda: worker.queue_status.last_error is not None)
    wait_until(lambda: worker.pending()[1] == 5)
    obstacle.unlink()
    wait_until(lambda: workplace.store.count(Query()) == 6)
    wait_until(lambda: worker.pending() == (0, 0))
    assert workplace.content("ingest/bad/x.ndjson") == lines(*range(5))
    wait_until(lambda: worker.queue_status.last_error is None)


@pytest.mark.usefixtures("impatient_stop")
def test_what_is_lost_at_the_end_is_told(
    workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    """If the disk is full at the stop, the worker logs the lost records and does not hang."""
    block(workplace, "bad")
    worker = workplace.work_ready()
    worker.enqueue(some(1, 2, path="ingest/bad/x.ndjson"))
    worker.stop()
    assert any("2 queued records are lost" in text for text in caplog.messages)


def test_a_submission_at_the_end_that_fails_is_told(workplace: Workplace) -> None:
    """A submission that fails at the stop returns its error to the waiting client."""
    block(workplace, "bad")
    worker = workplace.work_ready()
    submission = submit(worker, some(1, path="ingest/bad/x.ndjson"))
    worker.stop()
    with pytest.raises(MikroScopeError):
        done(submission)


# --- files and requests in turn -----------------------------------------------------------


def test_jobs_have_their_turn_while_nothing_can_be_written(workplace: Workplace) -> None:
    """Clean-up and rebuild take their steps although every write and every reading fails."""
    flaky = FlakyStore(workplace.store, range(1, 1_000_000))
    workplace.write("a.ndjson", lines(1))
    worker = workplace.work(flaky, flush_s=0.001)
    for number in range(20):
        worker.enqueue(some(number))
    steps = iter(range(50))
    worker.run_job(steps).result(DEADLINE_S)
    assert list(steps) == []
    assert flaky.calls >= 1


def test_a_submission_has_its_turn_between_two_steps_of_a_backlog(workplace: Workplace) -> None:
    """A submission waits only for the current step of a backlog."""
    workplace.write("backlog.ndjson", lines(*range(1_000, 2_000)))
    finished: list[int] = []

    def submit_one(commit: int) -> None:
        if commit == 5:
            submission = submit(workplace.worker, some(1))
            submission.add_done_callback(lambda _: finished.append(store.commits))

    store = GatedStore(workplace.store, submit_one)
    worker = workplace.work(store, batch_bytes=2_000)
    wait_until(lambda: worker.run.runs == 1)
    assert finished == [6]
    assert store.commits >= 100
    assert workplace.store.count(Query()) == 1_001


def test_a_backlog_has_its_turn_between_submissions(workplace: Workplace) -> None:
    """A steady flow of submissions does not stop a backlog from being indexed."""
    workplace.write("backlog.ndjson", lines(*range(1_000, 1_200)))
    submitted = 0

    def submit_one(commit: int) -> None:
        nonlocal submitted
        if workplace.worker.run.runs == 0:
            submit(workplace.worker, some(submitted))
            submitted += 1

    worker = workplace.work(GatedStore(workplace.store, submit_one), batch_bytes=2_000)
    wait_until(lambda: worker.run.runs > 0)
    assert workplace.numbers("backlog.ndjson") == list(range(1_000, 1_200))
    worker.stop()
    assert workplace.numbers(INGEST) == list(range(submitted))


def test_the_tree_is_looked_at_right_away(workplace: Workplace) -> None:
    """The worker scans the tree as soon as it starts and reports the run."""
    workplace.write("a.ndjson", lines(1, 2) + b"no record\n")
    worker = workplace.work_ready()
    assert workplace.numbers() == [1, 2]
    run = worker.run
    assert (run.running, run.last_error, run.last_run.records_inserted) == (False, None, 2)
    assert (run.last_run.parse_errors, run.last_run.files_scanned) == (1, 1)
    assert run.last_run_ms is not None
    assert run.last_success_ms is not None
    assert run.last_duration_ms is not None


def test_the_tree_is_looked_at_again_at_the_interval(workplace: Workplace) -> None:
    """The worker scans again at the interval and finds new lines."""
    worker = workplace.work(interval_s=0.01)
    wait_until(lambda: worker.run.runs >= 1)
    workplace.write("a.ndjson", lines(1))
    wait_until(lambda: workplace.store.count(Query()) == 1)
    workplace.append("a.ndjson", lines(2))
    wait_until(lambda: workplace.store.count(Query()) == 2)
    wait_until(lambda: worker.run.last_run.records_inserted == 0)


def test_without_an_interval_the_tree_is_looked_at_once(workplace: Workplace) -> None:
    """Without an interval, the tree is scanned once, and ingested records are still indexed."""
    workplace.write("a.ndjson", lines(1))
    worker = workplace.work(interval_s=None)
    wait_until(lambda: worker.run.runs == 1)
    workplace.append("a.ndjson", lines(2))
    for number in range(3, 6):
        done(submit(worker, some(number)))
    assert workplace.numbers() == [1, 3, 4, 5]
    assert worker.run.runs == 1


def test_a_notice_brings_what_was_appended(workplace: Workplace) -> None:
    """A file-system event makes the worker index appended lines long before the interval."""
    workplace.write("a.ndjson", lines(1))
    worker = workplace.work_ready()
    workplace.append("a.ndjson", lines(2))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: workplace.numbers() == [1, 2])


def test_a_notice_of_a_new_file_brings_its_lines(workplace: Workplace) -> None:
    """An event for a new file makes the worker scan the tree and index its lines."""
    worker = workplace.work_ready()
    workplace.write("d/a.ndjson", lines(1))
    worker.files_changed({"d"})
    wait_until(lambda: workplace.numbers() == [1])


def test_a_notice_of_a_truncated_file_brings_what_it_holds_now(workplace: Workplace) -> None:
    """After an event for a truncated file, a scan indexes its present content."""
    workplace.write("a.ndjson", lines(1, 2, 3))
    worker = workplace.work_ready()
    workplace.write("a.ndjson", lines(4))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: workplace.numbers() == [4])


def test_a_notice_of_what_is_already_indexed_is_no_run(workplace: Workplace) -> None:
    """An event for content that is already indexed counts as no run."""
    worker = workplace.work_ready()
    done(submit(worker, some(1)))
    worker.files_changed({INGEST})
    done(submit(worker, some(2)))
    done(submit(worker, some(3)))
    assert worker.run.runs == 1


def test_nothing_is_opened_while_nothing_happens(workplace: Workplace) -> None:
    """An idle worker opens no file, in any run."""
    for number in range(50):
        workplace.write(f"{number}.ndjson", lines(number))
    worker = workplace.work(interval_s=0.001)
    wait_until(lambda: worker.run.runs >= 1)
    runs = worker.run.runs
    opened = workplace.opened_by(lambda: wait_until(lambda: worker.run.runs > runs + 5))
    assert opened == []


def test_what_is_ingested_is_not_read_again(workplace: Workplace) -> None:
    """The worker does not read ingested lines again once the file's start identifies it."""
    worker = workplace.work_ready()
    done(submit(worker, some(0, size=2_000)))

    def send() -> None:
        for number in range(1, 20):
            done(submit(worker, some(number)))

    opened = workplace.opened_by(send)
    assert opened == []
    assert workplace.numbers(INGEST) == list(range(20))
    assert [entry.line_number for entry in all_entries(workplace.store)] == list(range(20, 0, -1))


def test_a_file_that_others_write_to_is_read(workplace: Workplace) -> None:
    """Lines that other programs write before or after ingested ones are indexed once."""
    worker = workplace.work_ready()
    done(submit(worker, some(0, size=2_000)))
    workplace.append(INGEST, lines(1))
    done(submit(worker, some(2)))
    workplace.append(INGEST, b'{"n":3')
    done(submit(worker, some(4)))
    workplace.append(INGEST, lines(5))
    done(submit(worker, some(6)))
    assert workplace.numbers(INGEST) == [0, 1, 2, 4, 5, 6]


def test_a_file_that_was_rewritten_is_read(workplace: Workplace) -> None:
    """When a file is rewritten, its new content replaces the old entries."""
    worker = workplace.work_ready()
    done(submit(worker, some(0, 1, size=2_000)))
    workplace.write(INGEST, lines(7, 8, size=2_000))
    done(submit(worker, some(9)))
    wait_until(lambda: workplace.numbers() == [7, 8, 9])


def test_queued_lines_that_fail_are_whole_the_next_time(workplace: Workplace) -> None:
    """If indexing queued lines fails, they are read from their file at the next attempt."""
    workplace.write(INGEST, lines(0, size=2_000))
    store = FlakyStore(workplace.store)
    worker = workplace.work(store, flush_s=0.001)
    wait_until(lambda: worker.run.runs == 1)
    store.losses = [store.calls + 1]
    worker.enqueue(some(1, 2))
    wait_until(lambda: workplace.numbers(INGEST) == [0, 1, 2])
    for number in (1, 2):
        page = workplace.store.search(Query(field="n", value=str(number)))
        assert list(map(number_of, page.entries)) == [number]


def test_the_index_is_put_in_order_after_much_was_read(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker compacts the index to the end after reading much, not after a few lines."""
    monkeypatch.setattr(worker_module, "MANY_RECORDS", 10)
    steps: list[str] = []

    class UntidyStore(StoreWrapper):
        def compact(self) -> Iterator[None]:
            for number in range(3):
                steps.append(f"step {number}")
                yield
            steps.append("done")

    workplace.write("a.ndjson", lines(*range(9)))
    worker = workplace.work_ready(UntidyStore(workplace.store))
    workplace.append("a.ndjson", lines(*range(9, 30)))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: steps == ["step 0", "step 1", "step 2", "done"])
    assert worker.stats.records_inserted == 30


def test_stopping_does_not_wait_for_the_backlog(workplace: Workplace) -> None:
    """A stop indexes accepted records but leaves the backlog to the next start."""
    workplace.write("backlog.ndjson", lines(*range(1_000, 2_000)))

    def stop_soon(commit: int) -> None:
        if commit == 3:
            workplace.worker.enqueue(some(1))
            workplace.worker._stopping = True  # `stop` itself would wait for this very thread

    worker = workplace.work(GatedStore(workplace.store, stop_soon), batch_bytes=2_000)
    worker._thread.join(DEADLINE_S)
    assert not worker._thread.is_alive()
    assert workplace.numbers(INGEST) == [1]
    assert workplace.store.count(Query()) < 1_000
    workplace.restart()
    workplace.index()
    assert workplace.store.count(Query()) == 1_001


def test_a_worker_that_never_began_can_be_stopped(workplace: Workplace) -> None:
    """A worker that was never started can be stopped."""
    worker = WriterThread(
        workplace.indexer,
        LogAppender(workplace.logs),
        interval_s=None,
        flush_s=1.0,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        monotonic=time.monotonic,
    )
    worker.stop()


def test_another_process_may_index_beside_a_worker(workplace: Workplace) -> None:
    """Every submission is indexed once while another process indexes the same files."""
    other_store = SqliteStore(workplace.database)
    other = workplace.index_with(other_store)
    worker = workplace.work()
    for number in range(20):
        submission = submit(worker, some(number))
        list(other.run())
        done(submission)
        assert [number_of(one) for one in all_entries(workplace.store)].count(number) == 1
    other_store.close()
    assert workplace.numbers() == list(range(20))
