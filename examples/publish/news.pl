#!/usr/bin/env perl
# news.pl TEXT - what a nightly job does: shows a line to clients, whose lists of prompts are no longer the same either.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Publish;

@ARGV == 1 or die "usage: news.pl TEXT\n";
utf8::decode($ARGV[0]);
publish({ lists => ['prompts'] });
printf "reached %d\n", publish({ log => { level => 'notice', logger => 'news', data => $ARGV[0] } });
