"""
Benchmarks of openrouter_async against hand-written code and other clients.

Run `python -m benchmarks`, or `python -m benchmarks NAME` for one case. `README.md` in
this folder says what each case measures and does not measure.
"""
