"""The benchmarks: scenarios that measure MikroScope from outside, and the report made of them."""
