/* What the frames of exec and the payload file have in common: a checksum, and binary data in text. */
#ifndef MINIVM_ENCODING_H
#define MINIVM_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The CRC-32 of ISO 3309, as zlib's. */
uint32_t crc32_of(const char *data, size_t size);
/* The value of a character of base64; -1 if it is none, or stands for nothing ("="). */
int base64_digit(char digit);
/* Base64 of RFC 4648 with padding and without line ends.  Writes size / 3 * 4 characters, rounded up; returns how many. */
size_t base64_encode(char *to, const char *data, size_t size);
/* false if it is none, or stands for more than room bytes. */
bool base64_decode(char *to, size_t room, size_t *size, const char *text, size_t length);

#endif
