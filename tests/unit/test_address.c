/* fcgi/address.c: whom a request is counted for, and which proxies are believed */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "fcgi/address.h"
#include "tests/lib/fake_req.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_read(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: it is none */
	} cases[] = {
	    {"192.0.2.1", "::ffff:192.0.2.1"},
	    {"192.0.2.1:4711", "::ffff:192.0.2.1"},
	    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
	    {"2001:db8::1", "2001:db8::1"},
	    {"[2001:db8::1]", "2001:db8::1"},
	    {"[2001:db8::1]:443", "2001:db8::1"},
	    {"fe80::1%eth0", "fe80::1"},
	    {"", NULL},
	    {"unix:", NULL},
	    {"unknown", NULL},
	    {"192.0.2", NULL},
	    {"192.0.2.1.1", NULL},
	    {"192.0.2.256", NULL},
	    {"2001:db8::1::2", NULL},
	    {"[", NULL},
	    {"2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000:0000", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct address a;
		char text[INET6_ADDRSTRLEN] = "";

		if (address_read(slice_str(cases[i].text), &a) != (cases[i].want != NULL))
			fail_msg("\"%s\"", cases[i].text);
		if (cases[i].want && strcmp(inet_ntop(AF_INET6, a.bytes, text, sizeof(text)), cases[i].want) != 0)
			fail_msg("\"%s\" is %s", cases[i].text, text);
	}
}

static void test_nets(void **state)
{
	static const struct {
		const char *text;
		unsigned bits; /* 0: it is none */
	} cases[] = {
	    {"192.0.2.1", 128},
	    {"192.0.2.0/24", 120},
	    {"0.0.0.0/0", 96},
	    {"2001:db8::1", 128},
	    {"2001:db8::/32", 32},
	    {"192.0.2.0/33", 0},
	    {"192.0.2.0/", 0},
	    {"192.0.2.0/-1", 0},
	    {"192.0.2.0/ 8", 0},
	    {"192.0.2.0/24x", 0},
	    {"2001:db8::/129", 0},
	    {"proxy.example", 0},
	    {"", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *item = (char *)cases[i].text;
		struct address_nets nets;
		struct err err = {0};
		int ret = address_nets_read(&nets, &(struct cfg_list){&item, 1}, &err);

		if (ret ? cases[i].bits != 0 || err.code != ERR_CONFIG : nets.items[0].bits != cases[i].bits)
			fail_msg("\"%s\": %d %s", cases[i].text, ret, err.msg);
		address_nets_release(&nets);
	}
}

static void test_client(void **state)
{
	static char *proxies[] = {(char *)"10.0.0.0/8", (char *)"192.0.2.7", (char *)"2001:db8:1::/48"};
	static const struct {
		const char *name, *remote, *forwarded, *want; /* want NULL: nobody */
	} cases[] = {
	    {"a client", "198.51.100.1", NULL, "::ffff:198.51.100.1"},
	    {"its IPv6 address", "2001:db8::1:2:3:4", NULL, "2001:db8::"},
	    {"the same network", "2001:db8::4:3:2:1", NULL, "2001:db8::"},
	    {"a client that lies", "198.51.100.1", "203.0.113.9", "::ffff:198.51.100.1"},
	    {"behind a proxy", "10.1.2.3", "203.0.113.9", "::ffff:203.0.113.9"},
	    {"behind two", "192.0.2.7", "203.0.113.9, 10.1.2.3", "::ffff:203.0.113.9"},
	    {"behind a proxy, and lies", "10.1.2.3", "192.0.2.7,1.1.1.1 , \t203.0.113.9", "::ffff:203.0.113.9"},
	    {"behind an IPv6 proxy", "2001:db8:1:ffff::1", "2001:db8:2:3:4::5", "2001:db8:2:3::"},
	    {"is a proxy", "10.1.2.3", NULL, "::ffff:10.1.2.3"},
	    {"an empty header", "10.1.2.3", "", "::ffff:10.1.2.3"},
	    {"only proxies", "10.1.2.3", "10.0.0.1, 10.0.0.2", "::ffff:10.0.0.1"},
	    {"no address", "10.1.2.3", "203.0.113.9, unknown", "::ffff:10.1.2.3"},
	    {"no address further left", "10.1.2.3", "unknown, 10.0.0.2", "::ffff:10.0.0.2"},
	    {"commas", "10.1.2.3", ",,", "::ffff:10.1.2.3"},
	    {"no address at all", "unix:", "203.0.113.9", NULL},
	    {"no variable", NULL, "203.0.113.9", NULL},
	};
	struct address_nets nets;
	struct err err = {0};

	(void)state;
	assert_int_equal(address_nets_read(&nets, &(struct cfg_list){proxies, COUNT_OF(proxies)}, &err), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct address got, want;
		struct fake_req req;
		struct slice who;

		fake_req_init(&req);
		fake_req_set(&req, "REMOTE_ADDR", cases[i].remote);
		fake_req_set(&req, "HTTP_X_FORWARDED_FOR", cases[i].forwarded);
		who = address_of_client(&req.base, &nets, &got);
		if ((who.len > 0) != (cases[i].want != NULL))
			fail_msg("%s: %zu bytes", cases[i].name, who.len);
		if (cases[i].want) {
			assert_true(address_read(slice_str(cases[i].want), &want));
			assert_int_equal(who.len, strchr(cases[i].want, '.') ? 16 : 8);
			if (memcmp(who.p, want.bytes, who.len) != 0)
				fail_msg("%s", cases[i].name);
		}
		fake_req_release(&req);
	}
	address_nets_release(&nets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_nets),
	    cmocka_unit_test(test_client),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
