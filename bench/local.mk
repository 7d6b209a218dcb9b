# bench/: what it builds and installs
