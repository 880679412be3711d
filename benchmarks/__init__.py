"""
Benchmarks: openrouter_async beside a loop written by hand, and beside its peers.

Run `python -m benchmarks`, or `python -m benchmarks NAME` for one case;
`README.md` in this folder tells what each measures and what it does not.
"""
