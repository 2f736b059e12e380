"""llama.cpp's server, run by the Python of the third-party servers.

Usage: llama_server.py FILE NAME PORT CONTEXT SLOTS (tokens of each slot, number of slots)
"""

import importlib
import signal
import sys

file, name, port, context, slots = sys.argv[1:]
llama = importlib.import_module("xllamacpp")
parameters = llama.CommonParams()
parameters.model.path = file
parameters.model_alias = name
parameters.port = int(port)
parameters.n_ctx = int(context) * int(slots)
parameters.n_parallel = int(slots)
# Its threads wait for each other busily, which takes minutes on a machine with other work.
parameters.cpuparams.n_threads = 1
parameters.cpuparams_batch.n_threads = 1
parameters.warmup = False
parameters.endpoint_slots = True
server = llama.Server(parameters)
print(server.listening_address, flush=True)
signal.pause()
