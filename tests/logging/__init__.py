# ruff: noqa: A005 -- the tests mirror the packages, and mikroscope.logging is one of them
