"""Reports: what an object holds, and what its programs do to packets and maps, for people and for scripts."""
