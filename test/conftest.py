"""Puts this folder on the path of every test, so that `import traffic` finds the traffic generator."""
