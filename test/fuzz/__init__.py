"""Random XDP programs against everything that the compiler does to them; see docs/fuzzing.md."""
