# examples/: what it builds and installs
