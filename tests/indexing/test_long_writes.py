"""Writes of very many records take turns with other work, and lose and duplicate nothing."""

import threading
from contextlib import suppress

import pytest

from mikroscope.errors import StoreError
from mikroscope.logfiles.reader import MIN_LINE_COST
from mikroscope.query.model import Query
from tests.helpers.stores import FlakyStore, lines
from tests.helpers.waiting import wait_until
from tests.helpers.workplace import INGEST, GatedStore, Workplace, done, some, submit

OTHER = "ingest/other/2026-02-18.ndjson"
LONG = range(100)


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten records are many, and five are one step."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_ROUND_RECORDS", 10)
    monkeypatch.setattr("mikroscope.indexing.long_writes.STEP_COST", 5 * MIN_LINE_COST)


def test_all_records_are_there_once_it_is_done(workplace: Workplace) -> None:
    """A long write is done when its file has all lines and the next query finds each."""
    worker = workplace.work_ready()
    done(submit(worker, some(1_000)))
    done(submit(worker, some(*LONG)))
    assert workplace.content() == lines(1_000, *LONG)
    assert workplace.numbers(INGEST) == [*LONG, 1_000]


def test_others_have_their_turn(workplace: Workplace) -> None:
    """Submissions for other files are done before a long write that came first."""
    order: list[str] = []
    finished = threading.Event()

    def finish(_: object) -> None:
        order.append("long")
        finished.set()

    def submit_others(commit: int) -> None:
        if 3 <= commit <= 8:
            one = submit(worker, some(1_000 + commit, path=OTHER))
            one.add_done_callback(lambda _: order.append("other"))

    worker = workplace.work_ready(GatedStore(workplace.store, submit_others))
    long = submit(worker, some(*LONG))
    long.add_done_callback(finish)
    done(long)
    assert finished.wait(1)
    assert order[-1] == "long"
    assert len(order) >= 5


def test_the_same_file_waits(workplace: Workplace) -> None:
    """Submissions for the same file come after the long write, in their order."""
    worker = workplace.work_ready()
    futures = [submit(worker, some(*LONG)), *(submit(worker, some(1_000 + n)) for n in range(5))]
    for future in futures:
        done(future)
    assert workplace.content() == lines(*LONG, *range(1_000, 1_005))
    assert workplace.store.count(Query()) == 105


def test_a_failure_at_the_beginning_leaves_nothing(workplace: Workplace) -> None:
    """If none of its lines can be indexed, a long write fails and leaves no line."""
    flaky = FlakyStore(workplace.store)
    worker = workplace.work_ready(flaky)
    done(submit(worker, some(1_000)))
    flaky.losses = [flaky.calls + 1]
    with pytest.raises(StoreError):
        done(submit(worker, some(*LONG)))
    assert workplace.content() == lines(1_000)
    done(submit(worker, some(*LONG)))
    assert workplace.numbers(INGEST) == [*LONG, 1_000]


def test_a_failure_later_is_tried_again(workplace: Workplace) -> None:
    """If some lines are indexed already, the rest is tried again until it is indexed, too."""
    flaky = FlakyStore(workplace.store)
    worker = workplace.work_ready(flaky)
    done(submit(worker, some(1_000)))
    flaky.losses = [flaky.calls + 4, flaky.calls + 5, flaky.calls + 9]
    done(submit(worker, some(*LONG)))
    assert workplace.numbers(INGEST) == [*LONG, 1_000]


def test_a_file_may_be_renamed_meanwhile(workplace: Workplace) -> None:
    """Rotation during a long write loses and doubles no record, and the write is done."""

    def rename(commit: int) -> None:
        if commit == 5:
            workplace.rename(INGEST, "ingest/p/2026-02-18.ndjson.1")

    worker = workplace.work_ready(GatedStore(workplace.store, rename))
    done(submit(worker, some(*LONG)))
    done(submit(worker, some(1_000)))
    assert workplace.numbers() == [*LONG, 1_000]


def test_a_file_may_be_deleted_meanwhile(workplace: Workplace) -> None:
    """A long write whose file is deleted is done, too; nothing waits for it forever."""

    def delete(commit: int) -> None:
        if commit == 5:
            (workplace.logs / INGEST).unlink()

    worker = workplace.work_ready(GatedStore(workplace.store, delete))
    done(submit(worker, some(*LONG)))


def test_a_stop_finishes_it(workplace: Workplace) -> None:
    """A stop indexes the rest of a long write, and what waits behind it, queued or not."""
    worker = workplace.work_ready()
    futures = [submit(worker, some(*LONG)), submit(worker, some(1_000))]
    worker.enqueue(some(1_001))
    worker.stop()
    for future in futures:
        done(future)
    assert workplace.numbers(INGEST) == [*LONG, 1_000, 1_001]


def test_a_long_write_that_is_queued(workplace: Workplace) -> None:
    """Queued records are flushed behind a queued long write of the same file."""
    worker = workplace.work(flush_s=0.01)
    worker.enqueue(some(*LONG))
    worker.enqueue(some(1_000))
    worker.stop()
    assert workplace.numbers(INGEST) == [*LONG, 1_000]
    assert worker.queue_status.records_flushed == 101


def test_a_file_with_a_backlog(workplace: Workplace) -> None:
    """A record for a file of which much is not indexed does not keep others waiting."""
    worker = workplace.work_ready()
    workplace.write(INGEST, lines(*LONG, size=100))
    behind, other = submit(worker, some(1_000)), submit(worker, some(1_001, path=OTHER))
    done(other)
    done(behind)
    assert workplace.numbers(INGEST) == [*LONG, 1_000]


def test_a_stop_before_the_first_scan(workplace: Workplace) -> None:
    """A stop finishes a long write also where the files were never scanned."""
    worker = workplace.make()
    worker.start(scan=False)
    future = submit(worker, some(*LONG))
    worker.stop()
    done(future)
    assert workplace.numbers(INGEST) == list(LONG)


def test_a_file_that_cannot_be_read_back(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long write whose lines cannot be read fails steps until they can; nothing else waits."""
    worker = workplace.work_ready()
    done(submit(worker, some(999)))
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        patch.setattr(workplace.tree, "open", refuse)
        long = submit(worker, some(*LONG))
        wait_until(lambda: "cannot be read back" in (worker.run.last_error or ""))
    done(submit(worker, some(1_000, path=OTHER)))
    with suppress(StoreError):  # none of its lines was indexed: it is undone, or tried again
        done(long)
    assert workplace.numbers(INGEST) in ([999], [*LONG, 999])
