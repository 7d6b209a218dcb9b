#!/bin/sh
# All conversations of this folder, behind apache.
exec "${abs_top_srcdir:?run by make check}/tests/mct" --server apache
