"""The delivery thread that several tests of alerts share."""

from collections.abc import Iterator

import pytest

from mikroscope.alerts.delivery import DeliveryThread


@pytest.fixture
def deliveries() -> Iterator[DeliveryThread]:
    """A delivery thread that is closed after the test."""
    thread = DeliveryThread()
    yield thread
    thread.close()
