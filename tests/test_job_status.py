"""JobStatus: what one run records, whether it succeeds or fails."""

from collections.abc import Iterator

import pytest

from mikroscope.job_status import JobStatus


def clock(*times_ms: int) -> Iterator[int]:
    """Times for `next` to return, one after the other."""
    return iter(times_ms)


def test_before_the_first_run() -> None:
    """A job that has never run has no times and no error."""
    status = JobStatus()
    assert (status.running, status.runs, status.last_error) == (False, 0, None)
    assert (status.last_run_ms, status.last_success_ms, status.last_duration_ms) == (None,) * 3


def test_running_meanwhile() -> None:
    """While a run lasts the job is running, its start is known, and it is not counted yet."""
    status = JobStatus()
    with status.run(lambda: 5) as began_ms:
        assert (status.running, status.runs, status.last_run_ms, began_ms) == (True, 0, 5, 5)


def test_success() -> None:
    """A run that ends well is counted with its end and its duration."""
    status, times = JobStatus(), clock(100, 130, 131)
    with status.run(lambda: next(times)):
        pass
    assert (status.running, status.runs, status.last_error) == (False, 1, None)
    assert (status.last_run_ms, status.last_success_ms, status.last_duration_ms) == (100, 130, 31)


def test_failure() -> None:
    """A run that fails is counted and raises its error; the last success stays what it was."""
    status, times = JobStatus(), clock(100, 130, 130, 200, 250)
    with status.run(lambda: next(times)):
        pass
    with pytest.raises(ValueError, match="broken"), status.run(lambda: next(times)):
        raise ValueError("broken")
    assert (status.running, status.runs, status.last_error) == (False, 2, "broken")
    assert (status.last_run_ms, status.last_success_ms, status.last_duration_ms) == (200, 130, 50)


def test_error_without_a_text() -> None:
    """An error without a text is recorded by the name of its type."""
    status = JobStatus()
    with pytest.raises(ZeroDivisionError), status.run(lambda: 0):
        raise ZeroDivisionError
    assert status.last_error == "ZeroDivisionError"


def test_error_is_cleared_by_success() -> None:
    """The next run that ends well clears the error."""
    status = JobStatus()
    status.last_error = "broken"
    with status.run(lambda: 0):
        assert status.last_error == "broken"
    assert status.last_error is None


def test_clock_set_back() -> None:
    """A clock that is set back during a run gives a duration of zero, not a negative one."""
    status, times = JobStatus(), clock(100, 50, 50)
    with status.run(lambda: next(times)):
        pass
    assert status.last_duration_ms == 0


def test_exit_is_no_failure_of_the_job() -> None:
    """A KeyboardInterrupt passes through without being recorded as the job's error."""
    status = JobStatus()
    with pytest.raises(KeyboardInterrupt), status.run(lambda: 0):
        raise KeyboardInterrupt
    assert (status.running, status.runs, status.last_error) == (False, 1, None)
