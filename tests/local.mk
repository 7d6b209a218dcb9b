# tests/: what it builds and installs
