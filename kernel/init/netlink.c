#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/abi.h"
#include "lib/text.h"

struct request {
    struct netlink_header header;
    unsigned char body[256];
};

bool address_parse(struct address *address, const char *text)
{
    char *copy = copy_text(text), *length = strchr(copy, '/');
    unsigned long number;
    bool valid = true;
    memset(address, 0, sizeof *address);
    if (length)
        *length++ = '\0';
    if (inet_pton(AF_INET, copy, address->bytes) == 1)
        address->family = AF_INET;
    else if (inet_pton(AF_INET6, copy, address->bytes) == 1)
        address->family = AF_INET6;
    else
        valid = false;
    address->prefix_length = address->family == AF_INET ? 32 : 128;
    if (valid && length) {
        valid = parse_number(length, address->prefix_length, &number);
        address->prefix_length = (unsigned)number;
    }
    free(copy);
    return valid;
}

static void begin_request(struct request *request, unsigned type, const void *message, size_t size)
{
    memset(request, 0, sizeof *request);
    request->header.type = (uint16_t)type;
    request->header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    request->header.length = (uint32_t)(sizeof request->header + size);
    memcpy(request->body, message, size);
}

/* Values are 4 or 16 bytes, so no padding is needed. */
static void add_attribute(struct request *request, unsigned type, const void *value, size_t size)
{
    struct netlink_attribute attribute = {.length = (uint16_t)(sizeof attribute + size), .type = (uint16_t)type};
    unsigned char *place = request->body + request->header.length - sizeof request->header;
    memcpy(place, &attribute, sizeof attribute);
    memcpy(place + sizeof attribute, value, size);
    request->header.length += attribute.length;
}

static bool send_request(const struct request *request)
{
    struct {
        struct netlink_header header;
        int32_t error;
        unsigned char rest[512];
    } answer;
    struct netlink_address kernel = {.family = AF_NETLINK};
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0)
        return false;
    ssize_t got = -1;
    if (sendto(descriptor, request, request->header.length, 0, (struct sockaddr *)&kernel, sizeof kernel) >= 0)
        got = recv(descriptor, &answer, sizeof answer, 0);
    int reason = got < 0 ? errno : EIO;
    close(descriptor);
    if (got >= (ssize_t)(sizeof answer.header + sizeof answer.error) && answer.header.type == NLMSG_ERROR)
        reason = -answer.error;
    errno = reason;
    return reason == 0;
}

static bool control_link(const char *name, unsigned long call, struct ifreq *request)
{
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    snprintf(request->ifr_name, IFNAMSIZ, "%.15s", name);
    bool done = !ioctl(descriptor, call, request);
    int reason = errno;
    close(descriptor);
    errno = reason;
    return done;
}

bool link_up(const char *name)
{
    struct ifreq request = {0};
    if (!control_link(name, SIOCGIFFLAGS, &request))
        return false;
    request.ifr_flags |= IFF_UP;
    return control_link(name, SIOCSIFFLAGS, &request);
}

bool link_clear_address(const char *name)
{
    struct ifreq request = {0};
    request.ifr_addr.sa_family = AF_INET;
    return control_link(name, SIOCSIFADDR, &request);
}

static size_t address_size(const struct address *address)
{
    return address->family == AF_INET ? 4 : 16;
}

bool link_add_address(const char *name, const struct address *address)
{
    struct request request;
    struct address_message message = {
        .family = (uint8_t)address->family,
        .prefix_length = (uint8_t)address->prefix_length,
        .interface = if_nametoindex(name),
    };
    if (!message.interface)
        return false;
    begin_request(&request, RTM_NEWADDR, &message, sizeof message);
    add_attribute(&request, IFA_LOCAL, address->bytes, address_size(address));
    add_attribute(&request, IFA_ADDRESS, address->bytes, address_size(address));
    if (address->family == AF_INET && address->prefix_length < 31) {
        uint32_t broadcast;
        memcpy(&broadcast, address->bytes, sizeof broadcast);
        broadcast |= htonl(address->prefix_length ? 0xffffffffU >> address->prefix_length : 0xffffffffU);
        add_attribute(&request, IFA_BROADCAST, &broadcast, sizeof broadcast);
    }
    return send_request(&request);
}

bool route_add(const struct address *destination, const struct address *gateway, const char *name)
{
    struct request request;
    struct route_message message = {
        .family = (uint8_t)gateway->family,
        .destination_length = (uint8_t)destination->prefix_length,
        .table = RT_TABLE_MAIN,
        .protocol = RTPROT_BOOT,
        .scope = RT_SCOPE_UNIVERSE,
        .type = RTN_UNICAST,
    };
    if (destination->family != gateway->family) {
        errno = EAFNOSUPPORT;
        return false;
    }
    begin_request(&request, RTM_NEWROUTE, &message, sizeof message);
    if (destination->prefix_length)
        add_attribute(&request, RTA_DST, destination->bytes, address_size(destination));
    add_attribute(&request, RTA_GATEWAY, gateway->bytes, address_size(gateway));
    if (name) {
        uint32_t index = if_nametoindex(name);
        if (!index)
            return false;
        add_attribute(&request, RTA_OIF, &index, sizeof index);
    }
    return send_request(&request);
}
