"""The benchmark: recorded clips through streaming recognisers on a simulated real-time clock.

Run by `scripts/bench`; docs/benchmark.md says how, and what each figure means. Nothing here is
part of the product.
"""
