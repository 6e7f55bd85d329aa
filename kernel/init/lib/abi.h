/* What the kernel's user-space headers say and libc does not: musl-gcc does not look into /usr/include/linux. */
#ifndef MINIVM_ABI_H
#define MINIVM_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

/* fs/ext4/ext4.h */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

/* linux/netlink.h, linux/genetlink.h */
#define NETLINK_ROUTE 0
#define NETLINK_GENERIC 16
#define SOL_NETLINK 270
#define NETLINK_ADD_MEMBERSHIP 1
#define NLM_F_REQUEST 0x01
#define NLM_F_ACK 0x04
#define NLM_F_REPLACE 0x100
#define NLM_F_CREATE 0x400
#define NLMSG_ERROR 2
#define GENL_ID_CTRL 16
#define CTRL_CMD_GETFAMILY 3
#define CTRL_ATTR_FAMILY_ID 1
#define CTRL_ATTR_FAMILY_NAME 2
#define CTRL_ATTR_MCAST_GROUPS 7
#define CTRL_ATTR_MCAST_GRP_ID 2

struct netlink_address {
    uint16_t family;
    uint16_t pad;
    uint32_t port;
    uint32_t groups;
};

struct netlink_header {
    uint32_t length;
    uint16_t type;
    uint16_t flags;
    uint32_t sequence;
    uint32_t port;
};

struct netlink_generic {
    uint8_t command;
    uint8_t version;
    uint16_t reserved;
};

struct netlink_attribute {
    uint16_t length; /* with this header, without padding */
    uint16_t type;
};

/* drivers/acpi/event.c: the one attribute of an event */
#define ACPI_EVENT_FAMILY "acpi_event"

struct acpi_event {
    char device_class[20];
    char bus_id[15];
    uint32_t type;
    uint32_t data;
};

/* linux/rtnetlink.h, linux/if_addr.h */
#define RTM_NEWADDR 20
#define RTM_NEWROUTE 24
#define IFA_ADDRESS 1
#define IFA_LOCAL 2
#define IFA_BROADCAST 4
#define RTA_DST 1
#define RTA_OIF 4
#define RTA_GATEWAY 5
#define RTN_UNICAST 1
#define RTPROT_BOOT 3
#define RT_TABLE_MAIN 254
#define RT_SCOPE_UNIVERSE 0
#define RT_SCOPE_LINK 253

struct address_message {
    uint8_t family;
    uint8_t prefix_length;
    uint8_t flags;
    uint8_t scope;
    uint32_t interface;
};

struct route_message {
    uint8_t family;
    uint8_t destination_length;
    uint8_t source_length;
    uint8_t service;
    uint8_t table;
    uint8_t protocol;
    uint8_t scope;
    uint8_t type;
    uint32_t flags;
};

#endif
