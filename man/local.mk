# man/: what it builds and installs
