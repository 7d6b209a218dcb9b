# broker/: what it builds and installs
