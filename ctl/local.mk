# ctl/: what it builds and installs
