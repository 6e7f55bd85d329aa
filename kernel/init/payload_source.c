/*
 * fw_cfg: QEMU's specification docs/specs/fw_cfg.rst.  It is read through its two I/O ports, which are there before any
 * driver.  A kernel that keeps them to itself (lockdown) has the driver's files.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#if defined(__x86_64__) || defined(__i386__)
#include <sys/io.h>
#endif

#include "lib/file.h"
#include "lib/say.h"
#include "module.h"
#include "payload.h"

#define NAME "opt/gns3-minivm/node"
#define DRIVER_FILE "/sys/firmware/qemu_fw_cfg/by_name/" NAME "/raw"

enum {
    SIZE_MAX_BYTES = 32 << 20,
    SELECTOR_PORT = 0x510, /* 16 bits; the data port, of 8 bits, is the next one */
    DATA_PORT = 0x511,
    KEY_SIGNATURE = 0x0000,
    KEY_DIRECTORY = 0x0019,
    FILES_MAX = 4096,
};

/* An entry of the directory; numbers are big-endian. */
struct fw_cfg_file {
    uint8_t size[4];
    uint8_t key[2];
    uint8_t reserved[2];
    char name[56];
};

static bool fits(size_t size)
{
    struct sysinfo memory;
    size_t limit = SIZE_MAX_BYTES;
    if (!sysinfo(&memory) && memory.totalram * memory.mem_unit / 4 < limit)
        limit = memory.totalram * memory.mem_unit / 4;
    if (size > limit)
        say("payload: it has %zu bytes and may have %zu on this machine: it is ignored", size, limit);
    return size <= limit;
}

#if defined(__x86_64__) || defined(__i386__)
static uint32_t number_of(const uint8_t *bytes, size_t size)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* As insb of <sys/io.h>, but musl's does not say that it writes to memory, and so a compiler may read it before. */
static void read_data(void *bytes, size_t size)
{
    __asm__ volatile("rep insb" : "+D"(bytes), "+c"(size) : "d"((uint16_t)DATA_PORT) : "memory");
}

static char *read_entry(const struct fw_cfg_file *file, size_t *size)
{
    *size = number_of(file->size, sizeof file->size);
    if (!fits(*size))
        return NULL;
    char *text = need(*size + 1);
    outw((uint16_t)number_of(file->key, sizeof file->key), SELECTOR_PORT);
    read_data(text, *size);
    return text;
}

/* The payload's bytes by way of the ports, which must be open; NULL if there is none. */
static char *read_ports(size_t *size)
{
    char signature[4];
    uint8_t count[4];
    struct fw_cfg_file file;
    outw(KEY_SIGNATURE, SELECTOR_PORT);
    read_data(signature, sizeof signature);
    if (memcmp(signature, "QEMU", sizeof signature))
        return NULL;
    outw(KEY_DIRECTORY, SELECTOR_PORT);
    read_data(count, sizeof count);
    for (uint32_t left = number_of(count, sizeof count); left && left <= FILES_MAX; left--) {
        read_data(&file, sizeof file);
        if (!strncmp(file.name, NAME, sizeof file.name))
            return read_entry(&file, size);
    }
    return NULL;
}
#endif

static char *read_driver(size_t *size)
{
    modules_load(MODULES_REST);
    char *text = file_text(DRIVER_FILE, size);
    if (text && !fits(*size)) {
        free(text);
        return NULL;
    }
    return text;
}

static char *read_payload(size_t *size)
{
#if defined(__x86_64__) || defined(__i386__)
    if (!ioperm(SELECTOR_PORT, 2, 1)) {
        char *text = read_ports(size);
        /* Programs would inherit them. */
        ioperm(SELECTOR_PORT, 2, 0);
        return text;
    }
#endif
    return read_driver(size);
}

void payload_begin(struct payload *payload, struct config *config, struct options *options)
{
    size_t size;
    char *text = read_payload(&size);
    if (!text)
        return;
    const char *wrong = payload_parse(payload, text, size);
    free(text);
    if (wrong) {
        say("payload: %s: it is ignored", wrong);
        return;
    }
    for (size_t i = 0; i < payload->complaints.count; i++)
        say("payload: %s", payload->complaints.item[i]);
    payload_merge(payload, config, options);
}
