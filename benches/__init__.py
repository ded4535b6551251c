"""The benchmarks: scenarios that measure MikroScope from outside, and their report."""
