"""Performance as ratios, measured in one run on one machine: `python -m bench`.

The mock LLM is the upstream; it, the service and the floor are processes of their own, and the load
is generated in this one. Nothing here is imported by the service.
"""
