"""The writer writes, indexes and reports accepted records; failures lose and duplicate none."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from mikroscope.errors import IngestError, MikroScopeError, StoreError
from mikroscope.indexing import writer_thread as worker_module
from mikroscope.indexing.indexer import BATCH_BYTES, Indexer
from mikroscope.indexing.writer_thread import WriterThread
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import LogAppender
from mikroscope.query.model import Query
from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import Batch, Store
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.stores import FlakyStore, Place, StoreWrapper, all_entries, lines, number_of
from tests.helpers.waiting import DEADLINE_S, wait_until

HOUR_S = 3_600.0
INGEST = "ingest/p/2026-02-18.ndjson"


class Workplace(Place):
    """A place with workers that are stopped at the end of the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.workers: list[WriterThread] = []

    def work(
        self,
        store: Store | None = None,
        *,
        interval_s: float | None = HOUR_S,
        flush_s: float = HOUR_S,
        batch_bytes: int = BATCH_BYTES,
    ) -> WriterThread:
        """Start a worker; it does nothing by the clock unless the test asks for it."""
        worker = WriterThread(
            Indexer(store or self.store, self.tree, batch_bytes),
            LogAppender(self.logs),
            interval_s=interval_s,
            flush_s=flush_s,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            monotonic=time.monotonic,
        )
        self.workers.append(worker)
        worker.start()
        return worker

    @property
    def worker(self) -> WriterThread:
        """Return the worker that was started last."""
        return self.workers[-1]

    def work_ready(self, store: Store | None = None) -> WriterThread:
        """Start a worker and wait for the end of its first scan."""
        worker = self.work(store)
        wait_until(lambda: worker.run.runs == 1)
        return worker

    def content(self, path: str = INGEST) -> bytes:
        """Return the content of a file; empty if it is missing."""
        file = self.logs / path
        return file.read_bytes() if file.exists() else b""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """A place where retries come quickly."""
    monkeypatch.setattr(worker_module, "RETRY_S", 0.01)
    with Workplace(tmp_path) as place:
        yield place
        for worker in place.workers:
            worker.stop()


class GatedStore(StoreWrapper):
    """A store that calls a function before every commit, and counts commits."""

    def __init__(self, store: Store, before_commit: Callable[[int], None]) -> None:
        super().__init__(store)
        self.commits = 0
        self._before_commit = before_commit

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Call the function with the commit's number, then commit."""
        self.commits += 1
        self._before_commit(self.commits)
        super().commit(batch, wait)


def some(*numbers: int, path: str = INGEST, size: int = 0) -> IngestBatch:
    """Return the records of one request."""
    content = lines(*numbers, size=size)
    records = [parse_line(line)[0] for line in content.splitlines()]
    return IngestBatch(path, content, len(numbers), 0, records)


def submit(worker: WriterThread, wanted: IngestBatch) -> "Future[None]":
    """Submit a batch and keep its result to wait for."""
    future: Future[None] = Future()

    def tell(error: Exception | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    worker.submit(wanted, tell)
    return future


def done(future: "Future[None]") -> None:
    """Wait for a submission; raise its failure."""
    future.result(timeout=DEADLINE_S)


# --- submit -------------------------------------------------------------------------------


def test_a_submission_that_is_done_is_in_its_file_and_findable(place: Workplace) -> None:
    """When a submission is done, its record is in the file and the next query finds it."""
    worker = place.work()
    for number in range(5):
        done(submit(worker, some(number)))
        assert place.numbers(INGEST) == list(range(number + 1))
        assert place.content() == lines(*range(number + 1))


def test_submissions_that_come_together_are_committed_together(place: Workplace) -> None:
    """Submissions that arrive during a write share the next transaction."""
    submissions: list[Future[None]] = []

    def submit_many(commit: int) -> None:
        if commit == 1:
            submissions.extend(
                submit(place.worker, some(number, path=f"ingest/{number % 7}/x.ndjson"))
                for number in range(1, 100)
            )

    store = GatedStore(place.store, submit_many)
    worker = place.work(store, interval_s=None)
    done(submit(worker, some(0)))
    for submission in submissions:
        done(submission)
    assert place.numbers() == list(range(100))
    assert store.commits == 2


def test_a_round_is_bounded(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker divides a flood of submissions into several transactions and completes all."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_ROUND_BYTES", 100)
    submissions: list[Future[None]] = []

    def submit_many(commit: int) -> None:
        if commit == 1:
            submissions.extend(submit(place.worker, some(number)) for number in range(1, 50))

    store = GatedStore(place.store, submit_many)
    worker = place.work(store)
    done(submit(worker, some(0)))
    for submission in submissions:
        done(submission)
    assert place.numbers() == list(range(50))
    assert store.commits > 5


def test_submissions_keep_their_order(place: Workplace) -> None:
    """Submissions keep their order in the file and in the index."""
    worker = place.work()
    for submission in [submit(worker, some(2 * number, 2 * number + 1)) for number in range(50)]:
        done(submission)
    assert place.content() == lines(*range(100))
    assert [entry.line_number for entry in reversed(place.entries())] == list(range(1, 101))


def test_what_a_crash_left_half_written_stays_alone(place: Workplace) -> None:
    """After a crash left half a line, the next record begins on a line of its own."""
    place.write(INGEST, lines(1) + b'{"n":2,"half')
    worker = place.work()
    done(submit(worker, some(3)))
    assert place.numbers() == [1, 3]
    wait_until(lambda: worker.stats.parse_errors == 1)


def test_a_file_may_be_rotated_between_submissions(place: Workplace) -> None:
    """If a file is rotated between two submissions, queries find both, each in its file."""
    worker = place.work()
    done(submit(worker, some(1)))
    place.rename(INGEST, f"{INGEST}.1")
    done(submit(worker, some(2)))
    assert place.by_path() == {f"{INGEST}.1": [1], INGEST: [2]}


# --- the queue ----------------------------------------------------------------------------


def test_what_is_queued_waits_for_the_flush(place: Workplace) -> None:
    """A queued record waits for the flush and is counted as queued until then."""
    worker = place.work_ready()
    worker.enqueue(some(1, 2))
    worker.enqueue(some(3))
    assert worker.pending() == (2, 3)
    assert worker.queue_status.records_queued == 3
    done(submit(worker, some(4, path="ingest/other/x.ndjson")))  # flushes, handling the file anyway
    assert place.numbers() == [1, 2, 3, 4]


def test_the_queue_is_flushed_in_time(place: Workplace) -> None:
    """The worker flushes the queue at its interval, without a request."""
    worker = place.work(flush_s=0.01)
    worker.enqueue(some(1, 2))
    wait_until(lambda: place.store.count(Query()) == 2)
    wait_until(lambda: worker.queue_status.records_flushed == 2)
    assert worker.pending() == (0, 0)
    assert worker.queue_status.last_flush_ms is not None


def test_stopping_writes_and_indexes_what_is_queued(place: Workplace) -> None:
    """A stop writes and indexes queued records and pending submissions."""
    worker = place.work_ready()
    worker.enqueue(some(1, 2))
    submission = submit(worker, some(3))
    worker.enqueue(some(4))
    worker.stop()
    done(submission)
    assert place.numbers() == [1, 2, 3, 4]
    assert (worker.pending(), worker.draining) == ((0, 0), False)


def test_a_worker_that_stops_takes_nothing_more(place: Workplace) -> None:
    """A stopping worker refuses submissions (HTTP 503), so the client can retry."""
    worker = place.work()
    worker.stop()
    for take in (partial(submit, worker), worker.enqueue):
        with pytest.raises(IngestError, match="stopping") as refused:
            take(some(1))
        assert refused.value.status == 503
    assert place.content() == b""


def test_a_full_queue_refuses(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue refuses records (HTTP 503), keeps accepted ones and has space after a flush."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_PENDING_BYTES", 10)
    worker = place.work_ready()
    worker.enqueue(some(1))
    with pytest.raises(IngestError, match="full") as refused:
        worker.enqueue(some(2))
    assert refused.value.status == 503
    assert worker.queue_status.records_queued == 1
    worker.stop()
    assert place.numbers() == [1]


# --- failures -----------------------------------------------------------------------------


class UnexpectedError(Exception):
    """A bug in the store."""


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
@pytest.mark.parametrize("refresh_fails", [False, True], ids=["", "sources-too"])
@pytest.mark.parametrize("error", [StoreError("full"), UnexpectedError("a defect")], ids=type)
def test_a_submission_that_cannot_be_indexed_fails_and_leaves_nothing(
    place: Workplace, error: Exception, refresh_fails: bool, late: bool
) -> None:
    """A submission that cannot be indexed fails and leaves nothing, so a retry adds it once."""
    store = FlakyStore(place.store, [2], late=late, refresh_fails=refresh_fails, error=error)
    worker = place.work(store, interval_s=None)
    done(submit(worker, some(1)))
    with pytest.raises(type(error), match=str(error)):
        done(submit(worker, some(2)))
    assert place.content() == lines(1)
    done(submit(worker, some(3)))
    assert place.numbers() == [1, 3]
    assert place.content() == lines(1, 3)


def test_all_submissions_of_a_failed_round_fail(place: Workplace) -> None:
    """If a round fails, the submissions for all its files fail and none is indexed later."""
    submissions: list[Future[None]] = []

    def fail_the_second(commit: int) -> None:
        if commit == 1:
            submissions.extend(
                submit(place.worker, some(number, path=f"ingest/{number}/x.ndjson"))
                for number in range(1, 9)
            )
        if commit == 2:
            raise StoreError("the disk is on fire")

    worker = place.work(GatedStore(place.store, fail_the_second), interval_s=None)
    done(submit(worker, some(0)))
    for submission in submissions:
        with pytest.raises(StoreError):
            done(submission)
    done(submit(worker, some(9)))
    worker.stop()
    assert place.numbers() == [0, 9]
    assert {file.read_bytes() for file in place.logs.glob("ingest/?/x.ndjson")} == {b""}


def test_a_failure_is_told_and_forgotten_when_all_is_well(place: Workplace) -> None:
    """The state for /health shows a failure until the next success."""
    place.write("a.ndjson", lines(1))
    store = FlakyStore(place.store, range(1, 1_000_000))
    worker = place.work(store)
    wait_until(lambda: worker.run.last_error == "the disk is on fire")
    assert not worker.run.running
    store.losses = ()
    wait_until(lambda: worker.run.runs == 1)
    assert worker.run.last_error is None
    assert place.numbers() == [1]
    assert worker.stats.records_inserted == 1


def test_a_lasting_failure_does_not_flood_the_log(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    """A lasting failure is retried again and again but logged once."""
    place.write("a.ndjson", lines(1))
    store = FlakyStore(place.store, range(1, 20))
    worker = place.work(store)
    wait_until(lambda: worker.run.runs == 1)
    assert [one.levelno for one in caplog.records].count(logging.ERROR) == 1


@pytest.mark.parametrize("refresh_fails", [False, True])
def test_queued_records_survive_a_store_that_fails(place: Workplace, refresh_fails: bool) -> None:
    """If the store fails, queued records are still indexed, exactly once."""
    store = FlakyStore(place.store, range(1, 6), refresh_fails=refresh_fails)
    worker = place.work(store, flush_s=0.001)
    for number in range(20):
        worker.enqueue(some(number))
    wait_until(lambda: store.raised >= 5)
    for number in range(20, 40):
        worker.enqueue(some(number))
    wait_until(lambda: place.store.count(Query()) >= 40)
    worker.stop()
    assert place.numbers() == list(range(40))
    assert place.content() == lines(*range(40))


def test_queued_records_that_cannot_be_indexed_at_the_end_are_in_their_file(
    place: Workplace,
) -> None:
    """Queued records that cannot be indexed at the stop are in their file for the next start."""
    worker = place.work(FlakyStore(place.store, range(1, 1_000)), interval_s=None)
    worker.enqueue(some(1, 2))
    worker.stop()
    assert place.content() == lines(1, 2)
    place.index()
    assert place.numbers() == [1, 2]


def block(place: Workplace, producer: str) -> Path:
    """Make it impossible to create a producer's directory."""
    return place.write(f"ingest/{producer}", b"")


def test_a_submission_that_cannot_be_written_fails_alone(place: Workplace) -> None:
    """A submission that cannot be written fails alone; those for other files succeed."""
    block(place, "bad")
    submissions: list[Future[None]] = []

    def submit_both(commit: int) -> None:
        if commit == 1:
            submissions.append(submit(place.worker, some(1, path="ingest/bad/x.ndjson")))
            submissions.append(submit(place.worker, some(2)))

    worker = place.work(GatedStore(place.store, submit_both), interval_s=None)
    done(submit(worker, some(0)))
    with pytest.raises(StoreError, match=r"ingest/bad/x\.ndjson cannot be written"):
        done(submissions[0])
    done(submissions[1])
    assert place.numbers() == [0, 2]


def test_queued_records_wait_until_they_can_be_written(place: Workplace) -> None:
    """Queued records wait in order until they can be written; other files do not wait."""
    obstacle = block(place, "bad")
    worker = place.work(flush_s=0.001)
    for number in range(5):
        worker.enqueue(some(number, path="ingest/bad/x.ndjson"))
    worker.enqueue(some(9))
    wait_until(lambda: place.numbers() == [9])
    wait_until(lambda: worker.queue_status.last_error is not None)
    wait_until(lambda: worker.pending()[1] == 5)
    obstacle.unlink()
    wait_until(lambda: place.store.count(Query()) == 6)
    wait_until(lambda: worker.pending() == (0, 0))
    assert place.content("ingest/bad/x.ndjson") == lines(*range(5))
    wait_until(lambda: worker.queue_status.last_error is None)


@pytest.mark.usefixtures("impatient_stop")
def test_what_is_lost_at_the_end_is_told(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    """If the disk is full at the stop, the worker logs the lost records and does not hang."""
    block(place, "bad")
    worker = place.work_ready()
    worker.enqueue(some(1, 2, path="ingest/bad/x.ndjson"))
    worker.stop()
    assert any("2 queued records are lost" in text for text in caplog.messages)


def test_a_submission_at_the_end_that_fails_is_told(place: Workplace) -> None:
    """A submission that fails at the stop returns its error to the waiting client."""
    block(place, "bad")
    worker = place.work_ready()
    submission = submit(worker, some(1, path="ingest/bad/x.ndjson"))
    worker.stop()
    with pytest.raises(MikroScopeError):
        done(submission)


# --- files and requests in turn -----------------------------------------------------------


def test_a_submission_has_its_turn_between_two_steps_of_a_backlog(place: Workplace) -> None:
    """A submission waits only for the current step of a backlog."""
    place.write("backlog.ndjson", lines(*range(1_000, 2_000)))
    finished: list[int] = []

    def submit_one(commit: int) -> None:
        if commit == 5:
            submission = submit(place.worker, some(1))
            submission.add_done_callback(lambda _: finished.append(store.commits))

    store = GatedStore(place.store, submit_one)
    worker = place.work(store, batch_bytes=2_000)
    wait_until(lambda: worker.run.runs == 1)
    assert finished == [6]
    assert store.commits >= 100
    assert place.store.count(Query()) == 1_001


def test_a_backlog_has_its_turn_between_submissions(place: Workplace) -> None:
    """A steady flow of submissions does not stop a backlog from being indexed."""
    place.write("backlog.ndjson", lines(*range(1_000, 1_200)))
    submitted = 0

    def submit_one(commit: int) -> None:
        nonlocal submitted
        if place.worker.run.runs == 0:
            submit(place.worker, some(submitted))
            submitted += 1

    worker = place.work(GatedStore(place.store, submit_one), batch_bytes=100)
    wait_until(lambda: worker.run.runs > 0)
    assert place.numbers("backlog.ndjson") == list(range(1_000, 1_200))
    worker.stop()
    assert place.numbers(INGEST) == list(range(submitted))


def test_the_tree_is_looked_at_right_away(place: Workplace) -> None:
    """The worker scans the tree as soon as it starts and reports the run."""
    place.write("a.ndjson", lines(1, 2) + b"no record\n")
    worker = place.work_ready()
    assert place.numbers() == [1, 2]
    run = worker.run
    assert (run.running, run.last_error, run.last_run.records_inserted) == (False, None, 2)
    assert (run.last_run.parse_errors, run.last_run.files_scanned) == (1, 1)
    assert run.last_run_ms is not None
    assert run.last_success_ms is not None
    assert run.last_duration_ms is not None


def test_the_tree_is_looked_at_again_at_the_interval(place: Workplace) -> None:
    """The worker scans again at the interval and finds new lines."""
    worker = place.work(interval_s=0.01)
    wait_until(lambda: worker.run.runs >= 1)
    place.write("a.ndjson", lines(1))
    wait_until(lambda: place.store.count(Query()) == 1)
    place.append("a.ndjson", lines(2))
    wait_until(lambda: place.store.count(Query()) == 2)
    wait_until(lambda: worker.run.last_run.records_inserted == 0)


def test_without_an_interval_the_tree_is_looked_at_once(place: Workplace) -> None:
    """Without an interval, the tree is scanned once, and ingested records are still indexed."""
    place.write("a.ndjson", lines(1))
    worker = place.work(interval_s=None)
    wait_until(lambda: worker.run.runs == 1)
    place.append("a.ndjson", lines(2))
    for number in range(3, 6):
        done(submit(worker, some(number)))
    assert place.numbers() == [1, 3, 4, 5]
    assert worker.run.runs == 1


def test_a_notice_brings_what_was_appended(place: Workplace) -> None:
    """A file-system event makes the worker index appended lines long before the interval."""
    place.write("a.ndjson", lines(1))
    worker = place.work_ready()
    place.append("a.ndjson", lines(2))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: place.numbers() == [1, 2])


def test_a_notice_of_a_new_file_brings_its_lines(place: Workplace) -> None:
    """An event for a new file makes the worker scan the tree and index its lines."""
    worker = place.work_ready()
    place.write("d/a.ndjson", lines(1))
    worker.files_changed({"d"})
    wait_until(lambda: place.numbers() == [1])


def test_a_notice_of_a_truncated_file_brings_what_it_holds_now(place: Workplace) -> None:
    """After an event for a truncated file, a scan indexes its present content."""
    place.write("a.ndjson", lines(1, 2, 3))
    worker = place.work_ready()
    place.write("a.ndjson", lines(4))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: place.numbers() == [4])


def test_a_notice_of_what_is_already_indexed_is_no_run(place: Workplace) -> None:
    """An event for content that is already indexed counts as no run."""
    worker = place.work_ready()
    done(submit(worker, some(1)))
    worker.files_changed({INGEST})
    done(submit(worker, some(2)))
    done(submit(worker, some(3)))
    assert worker.run.runs == 1


def test_nothing_is_opened_while_nothing_happens(place: Workplace) -> None:
    """An idle worker opens no file, in any run."""
    for number in range(50):
        place.write(f"{number}.ndjson", lines(number))
    worker = place.work(interval_s=0.001)
    wait_until(lambda: worker.run.runs >= 1)
    runs = worker.run.runs
    opened = place.opened_by(lambda: wait_until(lambda: worker.run.runs > runs + 5))
    assert opened == []


def test_what_is_ingested_is_not_read_again(place: Workplace) -> None:
    """The worker does not read ingested lines again once the file's start identifies it."""
    worker = place.work_ready()
    done(submit(worker, some(0, size=2_000)))

    def send() -> None:
        for number in range(1, 20):
            done(submit(worker, some(number)))

    opened = place.opened_by(send)
    assert opened == []
    assert place.numbers(INGEST) == list(range(20))
    assert [entry.line_number for entry in all_entries(place.store)] == list(range(20, 0, -1))


def test_a_file_that_others_write_to_is_read(place: Workplace) -> None:
    """Lines that other programs write before or after ingested ones are indexed once."""
    worker = place.work_ready()
    done(submit(worker, some(0, size=2_000)))
    place.append(INGEST, lines(1))
    done(submit(worker, some(2)))
    place.append(INGEST, b'{"n":3')
    done(submit(worker, some(4)))
    place.append(INGEST, lines(5))
    done(submit(worker, some(6)))
    assert place.numbers(INGEST) == [0, 1, 2, 4, 5, 6]


def test_a_file_that_was_rewritten_is_read(place: Workplace) -> None:
    """When a file is rewritten, its new content replaces the old entries."""
    worker = place.work_ready()
    done(submit(worker, some(0, 1, size=2_000)))
    place.write(INGEST, lines(7, 8, size=2_000))
    done(submit(worker, some(9)))
    wait_until(lambda: place.numbers() == [7, 8, 9])


def test_queued_lines_that_fail_are_whole_the_next_time(place: Workplace) -> None:
    """If indexing queued lines fails, they are read from their file at the next attempt."""
    place.write(INGEST, lines(0, size=2_000))
    store = FlakyStore(place.store)
    worker = place.work(store, flush_s=0.001)
    wait_until(lambda: worker.run.runs == 1)
    store.losses = [store.calls + 1]
    worker.enqueue(some(1, 2))
    wait_until(lambda: place.numbers(INGEST) == [0, 1, 2])
    for number in (1, 2):
        page = place.store.search(Query(field="n", value=str(number)))
        assert list(map(number_of, page.entries)) == [number]


def test_the_index_is_put_in_order_after_much_was_read(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
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

    place.write("a.ndjson", lines(*range(9)))
    worker = place.work_ready(UntidyStore(place.store))
    place.append("a.ndjson", lines(*range(9, 30)))
    worker.files_changed({"a.ndjson"})
    wait_until(lambda: steps == ["step 0", "step 1", "step 2", "done"])
    assert worker.stats.records_inserted == 30


def test_stopping_does_not_wait_for_the_backlog(place: Workplace) -> None:
    """A stop indexes accepted records but leaves the backlog to the next start."""
    place.write("backlog.ndjson", lines(*range(1_000, 2_000)))

    def stop_soon(commit: int) -> None:
        if commit == 3:
            place.worker.enqueue(some(1))
            place.worker._stopping = True  # `stop` itself would wait for this very thread

    worker = place.work(GatedStore(place.store, stop_soon), batch_bytes=100)
    worker._thread.join(DEADLINE_S)
    assert not worker._thread.is_alive()
    assert place.numbers(INGEST) == [1]
    assert place.store.count(Query()) < 1_000
    place.restart()
    place.index()
    assert place.store.count(Query()) == 1_001


def test_a_worker_that_never_began_can_be_stopped(place: Workplace) -> None:
    """A worker that was never started can be stopped."""
    worker = WriterThread(
        place.indexer,
        LogAppender(place.logs),
        interval_s=None,
        flush_s=1.0,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        monotonic=time.monotonic,
    )
    worker.stop()


def test_another_process_may_index_beside_a_worker(place: Workplace) -> None:
    """Every submission is indexed once while another process indexes the same files."""
    other_store = SqliteStore(place.database)
    other = place.index_with(other_store)
    worker = place.work()
    for number in range(20):
        submission = submit(worker, some(number))
        list(other.run())
        done(submission)
        assert [number_of(one) for one in all_entries(place.store)].count(number) == 1
    other_store.close()
    assert place.numbers() == list(range(20))
