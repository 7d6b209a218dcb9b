#!/usr/bin/env php
<?php
// sold.php ITEM COUNT - what a web shop does after a sale: takes COUNT of ITEM off the stock, and tells clients.
declare(strict_types=1);

require __DIR__ . '/publish.php';

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
