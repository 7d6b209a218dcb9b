#!/usr/bin/env perl
# news.pl TEXT - what a nightly job does: shows a line to clients, whose lists of prompts are no longer the same either.
use strict;
use warnings;
use FindBin;
use IO::Socket::UNIX;
use JSON::PP;

# Publishes, and returns how many it reached. Without a client there may be nobody who serves the socket.
sub publish {
	my ($what) = @_;
	my $to = IO::Socket::UNIX->new(Peer => "$FindBin::Bin/publish.sock") or return 0;
	my $body = encode_json($what);
	printf $to "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", length $body, $body;
	my ($head, $text) = split /\r\n\r\n/, do { local $/; <$to> } // '', 2;
	my $said = eval { decode_json($text) } // {};
	return $said->{reached} // die(($said->{error} // 'no answer from mcp-runner') . "\n");
}

@ARGV == 1 or die "usage: news.pl TEXT\n";
utf8::decode($ARGV[0]);
publish({ lists => ['prompts'] });
printf "reached %d\n", publish({ log => { level => 'notice', logger => 'news', data => $ARGV[0] } });
