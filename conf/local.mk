# conf/: what it builds and installs
