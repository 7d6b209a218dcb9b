package Publish;
# Publish.pm - says something to clients of this site, for whatever is written in Perl.
use strict;
use warnings;
use Exporter 'import';
use FindBin;
use IO::Socket::UNIX;
use JSON::PP;

our @EXPORT = 'publish';

# Publishes, and returns how many it reached. Without a client there may be nobody who serves the socket. Dies of a refusal, with its
# HTTP status and why.
sub publish {
	my ($what) = @_;
	my $to = IO::Socket::UNIX->new(Peer => "$FindBin::Bin/publish.sock") or return 0;
	my $body = encode_json($what);
	printf $to "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", length $body, $body;
	my ($head, $text) = split /\r\n\r\n/, do { local $/; <$to> } // '', 2;
	my $said = eval { decode_json($text) } // {};
	return $said->{reached} // die(substr($head // '', 9, 3), ' ', $said->{error} // 'no answer from mcp-runner', "\n");
}

1;
