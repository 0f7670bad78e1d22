"""Real objects that nobody here wrote, collected, and checked against the compiler and the kernel.

    PYTHONPATH=test .venv/bin/python -m corpus collect          download, extract and compile into build/corpus
    PYTHONPATH=test .venv/bin/python -m corpus identity         in and out again: the same code
    PYTHONPATH=test .venv/bin/python -m corpus load             what comes out loads where the original loads
    PYTHONPATH=test .venv/bin/python -m corpus interp           the interpreter does what the kernel does
    PYTHONPATH=test .venv/bin/python -m corpus pipeline PASSES  the result of a pipeline does what the original does
    PYTHONPATH=test .venv/bin/python -m corpus raised           the share of accesses and map operations that is raised

See docs/corpus.md.
"""
