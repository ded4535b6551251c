"""What the tests of delivering share: the thread that delivers."""

from collections.abc import Iterator

import pytest

from mikroscope.alerts.delivery import DeliveryThread


@pytest.fixture
def deliveries() -> Iterator[DeliveryThread]:
    """A delivery thread that is closed after the test."""
    thread = DeliveryThread()
    yield thread
    thread.close()
