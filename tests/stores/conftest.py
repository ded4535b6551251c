"""Let pytest explain the assertions of the contract suites like those of tests."""

import pytest

pytest.register_assert_rewrite("tests.stores.contract")
