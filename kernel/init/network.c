#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "module.h"
#include "netlink.h"
#include "paths.h"
#include "process.h"

static void set_kernel(const char *name, const char *value)
{
    char *path = format("/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        /* A slash stands for a dot in the name of an interface, as in sysctl(8). */
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    if (!file_write(path, value))
        say_error("sysctl.%s=%s", name, value);
    free(path);
}

static void set_sysctl(const char *word)
{
    char *name = copy_text(word), *value = strchr(name, '=');
    *value++ = '\0';
    set_kernel(name, value);
    free(name);
}

/* The lease is kept by a process of its own, which retries for as long as the machine runs. */
static void start_dhcp(const char *name)
{
    char host[65] = "";
    struct words command = {0};
    static const char *const fixed[] = {TOOLS "/busybox", "udhcpc", "-f", "-S", "-R", "-t", "5", "-T", "1", "-A", "5"};
    if (gethostname(host, sizeof host - 1))
        *host = '\0';
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        words_add(&command, fixed[i]);
    words_add(&command, "-s");
    words_add(&command, TOOLS "/minivm-lease");
    words_add(&command, "-x");
    words_add(&command, format("hostname:%s", host));
    words_add(&command, "-i");
    words_add(&command, name);
    if (process_start_quietly(&command) < 0)
        say_error("ip.%s=dhcp", name);
}

static void set_address(const char *word)
{
    struct address address;
    char *name = copy_text(word), *value = strchr(name, '=');
    *value++ = '\0';
    if (!link_up(name)) {
        say_error("ip.%s: the interface", word);
    } else if (!strcmp(value, "dhcp")) {
        start_dhcp(name);
    } else if (!strcmp(value, "slaac")) {
        /* 2: also where the node forwards packets. */
        set_kernel(format("net.ipv6.conf.%s.accept_ra", name), "2");
    } else if (!address_parse(&address, value)) {
        say("ip.%s: '%s' must be ADDRESS/LENGTH, dhcp or slaac", word, value);
    } else if (!link_add_address(name, &address)) {
        say_error("ip.%s", word);
    }
    free(name);
}

/* GATEWAY, or GATEWAY%INTERFACE for a link-local one. */
static bool parse_gateway(char *text, struct address *gateway, const char **name)
{
    char *percent = strchr(text, '%');
    if (percent)
        *percent++ = '\0';
    *name = percent;
    return address_parse(gateway, text) && !strchr(text, '/');
}

static void set_gateway(const char *word)
{
    struct address gateway, everywhere = {0};
    const char *name;
    if (!parse_gateway(copy_text(word), &gateway, &name)) {
        say("gw=%s: must be an address", word);
        return;
    }
    everywhere.family = gateway.family;
    if (!route_add(&everywhere, &gateway, name))
        say_error("gw=%s", word);
}

static void set_route(const char *word)
{
    struct address gateway, destination;
    const char *name;
    char *network = copy_text(word), *via = strchr(network, ',');
    if (via)
        *via++ = '\0';
    if (!via || !address_parse(&destination, network) || !parse_gateway(via, &gateway, &name))
        say("route=%s: must be NETWORK/LENGTH,GATEWAY", word);
    else if (!route_add(&destination, &gateway, name))
        say_error("route=%s", word);
    free(network);
}

void network_begin(const struct options *options)
{
    /* As in Docker's containers: any user may listen on port 80, and ping. */
    file_write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    file_write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    /* The engine has it on for its host, whose value each container gets: routers route without being told. */
    file_write("/proc/sys/net/ipv4/ip_forward", "1");
    for (size_t i = 0; i < options->modules.count; i++)
        module_probe(options->modules.item[i]);
    for (size_t i = 0; i < options->sysctls.count; i++)
        set_sysctl(options->sysctls.item[i]);
    for (size_t i = 0; i < options->addresses.count; i++)
        set_address(options->addresses.item[i]);
    for (size_t i = 0; i < options->gateways.count; i++)
        set_gateway(options->gateways.item[i]);
    for (size_t i = 0; i < options->routes.count; i++)
        set_route(options->routes.item[i]);
}

static void write_lease_resolver(const char *servers, const char *domain)
{
    struct words list = {0};
    char *text = copy_text(RESOLVER_MARK "from a DHCP lease\n");
    if (domain && *domain)
        text = format("%ssearch %s\n", text, domain);
    words_split(&list, servers, " ");
    for (size_t i = 0; i < list.count; i++)
        text = format("%snameserver %s\n", text, list.item[i]);
    resolver_replace(text);
}

int network_take_lease(const char *action)
{
    const char *name = getenv("interface"), *ip = getenv("ip"), *mask = getenv("mask");
    const char *router = getenv("router"), *servers = getenv("dns");
    struct address address, gateway, everywhere = {.family = 2 /* AF_INET */};
    if (!name)
        return 1;
    if (!strcmp(action, "deconfig")) {
        link_clear_address(name);
        return !link_up(name);
    }
    if (strcmp(action, "bound") && strcmp(action, "renew"))
        return 0;
    if (!ip || !address_parse(&address, format("%s/%s", ip, mask ? mask : "24")) || !link_add_address(name, &address))
        return 1;
    if (router && *router) {
        struct words routers = {0};
        words_split(&routers, router, " ");
        if (routers.count && address_parse(&gateway, routers.item[0]))
            route_add(&everywhere, &gateway, name);
    }
    if (servers && *servers)
        write_lease_resolver(servers, getenv("domain"));
    return 0;
}
