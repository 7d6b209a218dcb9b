#!/bin/sh
# How many of a fruit are there; status 66: there is no such fruit.
case $1 in
*[!a-z]* | '') exit 66 ;;
esac
[ -r "stock/$1" ] || exit 66
cat "stock/$1"
