"""Makes pytest explain the assertions of the contract suites as it does those of tests."""

import pytest

pytest.register_assert_rewrite("tests.stores.contract")
