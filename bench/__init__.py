"""Benchmark that measures performance as ratios within one run: `python -m bench`.

The mock LLM (the upstream), the service and the floor (a bare server) run as separate processes;
this process generates the load. The service never imports this package.
"""
