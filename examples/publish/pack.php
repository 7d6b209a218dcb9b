#!/usr/bin/env php
<?php
// pack.php - the warehouse, as cron would run it: packs what the tool "order" has in its queue, and tells its client how far it is.
declare(strict_types=1);
require __DIR__ . '/publish.php';

foreach (glob(__DIR__ . '/jobs/pack/*.job') as $file) {
	$name = substr($file, 0, -strlen('.job'));
	if (!@rename($file, "$name.taken"))
		continue; // somebody else packs it
	$job = json_decode(file_get_contents("$name.taken"), true);
	['item' => $item, 'count' => $count] = $job['arguments'];
	try {
		for ($n = 1; $n <= $count; $n++) {
			usleep(100000); // so long does it take to pack one
			publish(['progress' => ['call' => $job['call'], 'progress' => $n, 'total' => $count, 'message' => "$item $n is packed"]]);
		}
		file_put_contents("$name.part", "$count of $item are packed\n");
		rename("$name.part", "$name.done");
		print "packed $count of $item\n";
	} catch (RuntimeException $e) {
		if ($e->getCode() !== 404)
			throw $e;
		print "$item: nobody waits for it any more\n"; // hand.sh took its job with it
	}
}
