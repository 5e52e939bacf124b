"""Benchmarks of training steps and inference: ``python -m bso_lib.bench --out figures/bench`` (make bench)."""
