# www/: what it builds and installs
