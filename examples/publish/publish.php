<?php
// publish.php - says something to clients of this site, for whatever is written in PHP.
declare(strict_types=1);

// Publishes, and returns how many it reached. Whoever is not connected reads the news when it comes back: so a socket
// that nobody serves, since no client has come yet, is no failure. A refusal is a RuntimeException with its HTTP status.
function publish(array $what, string $socket = __DIR__ . '/publish.sock'): int
{
	$to = @stream_socket_client("unix://$socket", $number, $why, 5);
	if ($to === false)
		return 0;
	stream_set_timeout($to, 10);
	$body = json_encode($what, JSON_THROW_ON_ERROR);
	fwrite($to, "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body");
	$parts = explode("\r\n\r\n", (string) stream_get_contents($to), 2);
	$said = json_decode($parts[1] ?? '', true);
	if (!isset($said['reached']))
		throw new RuntimeException($said['error'] ?? 'no answer from mcp-runner', (int) substr($parts[0], 9, 3));
	return $said['reached'];
}
