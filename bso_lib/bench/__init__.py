"""Benchmarks of training steps and inference: ``python -m bso_lib.bench --out figures/bench`` (make bench).

`gpu_check` runs their first rows and all else that only a GPU can show (make gpu-check).
"""
