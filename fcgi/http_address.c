#include "config.h"

#include <netinet/in.h>

#include "fcgi/http_address.h"
#include "common/banned.h"

#define V4(a, b, c, d)                                                                                                 \
	{                                                                                                              \
		{                                                                                                      \
			0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d                                           \
		}                                                                                                      \
	}

/* What IANA's registries of special-purpose addresses keep from the public Internet. */
static const struct address_net special[] = {
    {V4(0, 0, 0, 0), 96 + 8},      /* "this network": 0.0.0.0 reaches the host itself */
    {V4(10, 0, 0, 0), 96 + 8},     /* private */
    {V4(100, 64, 0, 0), 96 + 10},  /* behind a carrier's NAT */
    {V4(127, 0, 0, 0), 96 + 8},    /* loopback */
    {V4(169, 254, 0, 0), 96 + 16}, /* link-local; clouds have their metadata at 169.254.169.254 */
    {V4(172, 16, 0, 0), 96 + 12},
    {V4(192, 0, 0, 0), 96 + 24},   /* protocol assignments */
    {V4(192, 0, 2, 0), 96 + 24},   /* documentation */
    {V4(192, 88, 99, 0), 96 + 24}, /* 6to4 relays that were */
    {V4(192, 168, 0, 0), 96 + 16},
    {V4(198, 18, 0, 0), 96 + 15}, /* benchmarks */
    {V4(198, 51, 100, 0), 96 + 24},
    {V4(203, 0, 113, 0), 96 + 24},
    {V4(224, 0, 0, 0), 96 + 4}, /* multicast */
    {V4(240, 0, 0, 0), 96 + 4}, /* reserved, and broadcast */
    {{{0x20, 0x01, 0x00}}, 23}, /* protocol assignments, Teredo among them */
    {{{0x20, 0x01, 0x0d, 0xb8}}, 32},
    {{{0x3f, 0xff, 0x00}}, 20},
};

/* Of IPv6 only this is the public Internet: not ::1, fc00::/7, fe80::/10, ff00::/8 ... */
static const struct address_net global_v6 = {{{0x20}}, 3};

static const struct address_net v4_mapped = {V4(0, 0, 0, 0), 96}, v4_compatible = {{{0}}, 96},
				v4_by_nat64 = {{{0x00, 0x64, 0xff, 0x9b}}, 96}, v4_by_6to4 = {{{0x20, 0x02}}, 16};

static bool is_of(const struct address *a, const struct address_net *net)
{
	const struct address_nets one = {(struct address_net *)(uintptr_t)net, 1};

	return address_is_in(a, &one);
}

static void set_v4(struct address *out, const void *bytes)
{
	*out = v4_mapped.address;
	memcpy(out->bytes + 12, bytes, 4);
}

/* False: it is neither IPv4 nor IPv6. */
static bool read_address(const struct sockaddr *sa, struct address *out)
{
	struct address raw;

	if (sa->sa_family == AF_INET) {
		set_v4(out, &((const struct sockaddr_in *)(const void *)sa)->sin_addr);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(raw.bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, sizeof(raw.bytes));
	*out = raw;
	if (is_of(&raw, &v4_by_6to4))
		set_v4(out, raw.bytes + 2);
	else if (is_of(&raw, &v4_by_nat64) || (is_of(&raw, &v4_compatible) && (raw.bytes[12] || raw.bytes[13])))
		set_v4(out, raw.bytes + 12);
	return true;
}

bool http_address_is_allowed(const struct sockaddr *sa, const struct address_nets *allowed)
{
	const struct address_nets refused = {(struct address_net *)(uintptr_t)special, COUNT_OF(special)};
	struct address a;

	if (!read_address(sa, &a))
		return false;
	if (address_is_in(&a, allowed))
		return true;
	return (is_of(&a, &v4_mapped) || is_of(&a, &global_v6)) && !address_is_in(&a, &refused);
}
