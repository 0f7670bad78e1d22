"""Where each piece of a program runs: what the passes `decompose` and `share-maps` decide with.

targets.py    target descriptions (backends/targets/*.toml)
stopping.py   the best cut of a flow graph: no IR
graph.py      a function's flow graph: loops, probabilities
costs.py      what an operation costs on a target
access.py     what a block does to maps
feasible*.py  what a target can run, and why not
loops.py      loops that the kernel's verifier can bound
crossing.py   what a packet must carry over a cut, and whether it can
sharing.py    maps that more than one part touches
decide.py     all of it together: a placement
split.py      the placement as IR
"""
