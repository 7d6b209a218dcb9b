/* fcgi/http_address.h - which addresses a request to an API may go to.
 *
 * Asked of each address just before a socket is made for it, whatever name it came from: so a name that resolves
 * differently the second time, a redirect, and an address written in another way are all covered. */
#ifndef MCP_FCGI_HTTP_ADDRESS_H
#define MCP_FCGI_HTTP_ADDRESS_H

#include <sys/socket.h>

#include "fcgi/address.h"

/* True for addresses of the public Internet, and for those in allowed. IPv4 inside of IPv6 (mapped, compatible, NAT64,
 * 6to4) is judged as what it is. */
bool http_address_is_allowed(const struct sockaddr *sa, const struct address_nets *allowed);

#endif
