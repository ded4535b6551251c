"""Makes pytest explain the assertions of the contract suite as it does those of tests."""

import pytest

pytest.register_assert_rewrite("tests.stores.store_contract")
