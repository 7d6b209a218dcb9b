#!/usr/bin/env php
<?php
// sold.php ITEM COUNT - what a web shop does after a sale: takes COUNT of ITEM off the stock, and tells clients.
declare(strict_types=1);

// Publishes, and returns how many it reached. Whoever is not connected reads the news when it comes back: so a socket
// that nobody serves, since no client has come yet, is no failure.
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
		throw new RuntimeException($said['error'] ?? 'no answer from mcp-runner');
	return $said['reached'];
}

[, $item, $count] = $argv + [1 => '', 2 => ''];
if (!preg_match('/^[a-z]+$/D', $item) || !ctype_digit($count)) {
	fwrite(STDERR, "usage: sold.php ITEM COUNT\n");
	exit(2);
}
$file = fopen(__DIR__ . "/stock/$item", 'r+') ?: exit(1);
flock($file, LOCK_EX);
$left = (int) fgets($file) - (int) $count;
rewind($file);
ftruncate($file, 0);
fwrite($file, "$left\n");
fclose($file);

printf("reached %d\n", publish(['resource' => "shop://stock/$item"]));
if ($left < 10)
	publish(['log' => ['level' => 'warning', 'logger' => 'shop', 'data' => ['item' => $item, 'left' => $left]]]);
