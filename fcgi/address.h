/* fcgi/address.h - whose address a request comes from, for limits.
 *
 * The web server says it in REMOTE_ADDR. Is there a proxy before the web server, that is the proxy's, and the web
 * server had better be told to take it from the proxy's header (mod_remoteip, mod_extforward, ngx_http_realip_module).
 * Where that can't be, rate_proxies lists the proxies whose X-Forwarded-For is believed: from its right end on, as far
 * as each address that says so is itself listed. What stands further left was written by the client and is worth
 * nothing. */
#ifndef MCP_FCGI_ADDRESS_H
#define MCP_FCGI_ADDRESS_H

#include <sys/socket.h>

#include "common/cfg.h"
#include "fcgi/req.h"

struct address {
	unsigned char bytes[16]; /* as IPv6; IPv4 is ::ffff:a.b.c.d */
};

struct address_net {
	struct address address;
	unsigned bits; /* of it that count, of 128 */
};

struct address_nets {
	struct address_net *items; /* owned; count entries */
	size_t count;
};

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32". ERR_CONFIG. nets is to be released in any case. */
int address_nets_read(struct address_nets *nets, const struct cfg_list *texts, struct err *err);
int address_nets_copy(struct address_nets *to, const struct address_nets *from, struct err *err);
void address_nets_release(struct address_nets *nets);

bool address_is_in(const struct address *a, const struct address_nets *nets);

/* An address as a header or REMOTE_ADDR has it, perhaps with a port or a zone. */
bool address_read(struct slice text, struct address *out);

/* "127.0.0.1:8080" or "[::1]:8080": where to listen, of loopback only. ERR_CONFIG. */
int address_read_listen(const char *text, struct sockaddr_storage *out, socklen_t *len, struct err *err);

bool address_is_loopback(const struct address *a);
#define ADDRESS_TEXT_SIZE 64
/* As a text: what address_of_client() returned for it, "" if that was empty. */
struct slice address_text(const struct address *a, struct slice of_client, char out[ADDRESS_TEXT_SIZE]);

/* Bytes of *store that stand for the client of req: of an IPv6 address its /64, for whoever has one has all. Empty when
 * REMOTE_ADDR is none (a Unix socket). */
struct slice address_of_client(const struct req *req, const struct address_nets *proxies, struct address *store);

#endif
