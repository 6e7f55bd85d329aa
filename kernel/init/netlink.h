/* Addresses and routes, set without any program of the image (rtnetlink). */
#ifndef MINIVM_NETLINK_H
#define MINIVM_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

/* An IPv4 or IPv6 network or address. */
struct address {
    int family; /* AF_INET, AF_INET6; 0: none */
    unsigned char bytes[16];
    unsigned prefix_length; /* all bits if the text says none */
};

/* Reads ADDRESS or ADDRESS/LENGTH. */
bool address_parse(struct address *address, const char *text);

/* All of these return false with errno set. */
bool link_up(const char *name);
bool link_add_address(const char *name, const struct address *address);
/* Takes the IPv4 address away. */
bool link_clear_address(const char *name);
/* A route by a gateway; the interface may be NULL unless the gateway is a link-local address. */
bool route_add(const struct address *destination, const struct address *gateway, const char *name);

#endif
