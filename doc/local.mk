# doc/: what it builds and installs
