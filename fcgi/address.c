#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"
#include "fcgi/address.h"
#include "common/banned.h"

static const unsigned char v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const struct address *a)
{
	return memcmp(a->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

static bool parse(struct slice text, struct address *out)
{
	char copy[INET6_ADDRSTRLEN];

	if (text.len == 0 || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET6, copy, out->bytes) == 1)
		return true;
	memcpy(out->bytes, v4_prefix, sizeof(v4_prefix));
	return inet_pton(AF_INET, copy, out->bytes + sizeof(v4_prefix)) == 1;
}

static struct slice cut_at(struct slice s, char c)
{
	const char *at = s.len ? memchr(s.p, c, s.len) : NULL;

	return at ? (struct slice){s.p, (size_t)(at - s.p)} : s;
}

bool address_read(struct slice text, struct address *out)
{
	struct slice before_port = cut_at(text, ':');

	if (text.len && text.p[0] == '[') { /* [address]:port */
		text.p++;
		text.len--;
		text = cut_at(text, ']');
	} else if (memchr(before_port.p ? before_port.p : "", '.', before_port.len)) {
		text = before_port;
	}
	return parse(cut_at(text, '%'), out);
}

void address_nets_release(struct address_nets *nets)
{
	mem_free(nets->items);
	*nets = (struct address_nets){0};
}

int address_nets_copy(struct address_nets *to, const struct address_nets *from, struct err *err)
{
	*to = (struct address_nets){0};
	if (from->count == 0)
		return 0;
	to->items = mem_alloc(from->count, sizeof(*to->items));
	if (!to->items)
		return err_set(err, ERR_NOMEM, "list of networks");
	memcpy(to->items, from->items, from->count * sizeof(*to->items));
	to->count = from->count;
	return 0;
}

int address_nets_read(struct address_nets *nets, const struct cfg_list *texts, struct err *err)
{
	*nets = (struct address_nets){0};
	if (texts->count == 0)
		return 0;
	nets->items = mem_alloc(texts->count, sizeof(*nets->items));
	if (!nets->items)
		return err_set(err, ERR_NOMEM, "list of networks");
	for (size_t i = 0; i < texts->count; i++) {
		struct slice text = slice_str(texts->items[i]), address = cut_at(text, '/');
		struct address_net *net = &nets->items[nets->count++];
		unsigned long most, bits;
		char *end = (char *)"";

		if (!parse(address, &net->address))
			return err_set(err, ERR_CONFIG, "\"%.100s\" is no address and no network", text.p);
		most = is_v4(&net->address) ? 32 : 128;
		bits = address.len < text.len ? strtoul(text.p + address.len + 1, &end, 10) : most;
		if (bits > most || *end || (bits < most && !isdigit((unsigned char)text.p[address.len + 1])))
			return err_set(err, ERR_CONFIG, "\"%.100s\": a prefix has 0 to %lu bits", text.p, most);
		net->bits = (unsigned)(bits + 128 - most);
	}
	return 0;
}

bool address_is_in(const struct address *a, const struct address_nets *nets)
{
	for (size_t i = 0; i < nets->count; i++) {
		const struct address_net *net = &nets->items[i];
		unsigned whole = net->bits / 8, rest = net->bits % 8;

		if (memcmp(a->bytes, net->address.bytes, whole) == 0 &&
		    (rest == 0 || ((a->bytes[whole] ^ net->address.bytes[whole]) >> (8 - rest)) == 0))
			return true;
	}
	return false;
}

/* Takes the last element off a list. false: it has none. */
static bool cut_last(struct slice *list, struct slice *last)
{
	const char *comma;

	if (list->len == 0)
		return false;
	comma = memrchr(list->p, ',', list->len);
	*last = *list;
	if (comma) {
		last->p = comma + 1;
		last->len -= (size_t)(last->p - list->p);
	}
	list->len = comma ? (size_t)(comma - list->p) : 0;
	while (last->len && (last->p[0] == ' ' || last->p[0] == '\t'))
		last->p++, last->len--;
	while (last->len && (last->p[last->len - 1] == ' ' || last->p[last->len - 1] == '\t'))
		last->len--;
	return true;
}

bool address_is_loopback(const struct address *a)
{
	static const unsigned char v6[16] = {[15] = 1};

	return is_v4(a) ? a->bytes[12] == 127 : memcmp(a->bytes, v6, sizeof(v6)) == 0;
}

struct slice address_text(const struct address *a, struct slice of_client, char out[ADDRESS_TEXT_SIZE])
{
	struct address net = {{0}};
	char text[INET6_ADDRSTRLEN] = "";
	bool is_whole = of_client.len == sizeof(net.bytes);

	memcpy(net.bytes, a->bytes, of_client.len);
	if (of_client.len > 0)
		inet_ntop(is_whole ? AF_INET : AF_INET6, is_whole ? net.bytes + 12 : net.bytes, text, sizeof(text));
	snprintf(out, ADDRESS_TEXT_SIZE, "%s%s", text, of_client.len > 0 && !is_whole ? "/64" : "");
	return slice_str(out);
}

struct slice address_of_client(const struct req *req, const struct address_nets *proxies, struct address *store)
{
	struct slice list, last;
	struct address before;

	if (!address_read(slice_str(req_env(req, "REMOTE_ADDR")), store))
		return SLICE("");
	list = slice_str(proxies->count ? req_env(req, "HTTP_X_FORWARDED_FOR") : NULL);
	while (address_is_in(store, proxies) && cut_last(&list, &last) && address_read(last, &before))
		*store = before;
	return (struct slice){(const char *)store->bytes, is_v4(store) ? sizeof(store->bytes) : 8};
}

int address_read_listen(const char *text, struct sockaddr_storage *out, socklen_t *len, struct err *err)
{
	const char *colon = strrchr(text, ':');
	struct address a;
	unsigned long port;
	char *end;

	if (!colon || !isdigit((unsigned char)colon[1]) || !address_read(slice_str(text), &a))
		return err_set(err, ERR_CONFIG, "\"%.100s\" is not as 127.0.0.1:8080 or [::1]:8080", text);
	port = strtoul(colon + 1, &end, 10);
	if (port == 0 || port > 65535 || *end)
		return err_set(err, ERR_CONFIG, "\"%.100s\": a port is 1 to 65535", text);
	if (!address_is_loopback(&a))
		return err_set(err, ERR_CONFIG,
		    "\"%.100s\" is not an address of loopback (127.0.0.1, [::1]); for other machines put a web server "
		    "in "
		    "front",
		    text);
	*out = (struct sockaddr_storage){0};
	if (is_v4(&a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)out;

		*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		memcpy(&in->sin_addr, a.bytes + sizeof(v4_prefix), sizeof(in->sin_addr));
		*len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

		*in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
		memcpy(&in6->sin6_addr, a.bytes, sizeof(in6->sin6_addr));
		*len = sizeof(*in6);
	}
	return 0;
}
