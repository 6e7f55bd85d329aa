#include "encoding.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint32_t crc32_of(const char *data, size_t size)
{
    /* By half bytes: a quarter of the steps, and nothing to prepare. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t sum = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        sum ^= (unsigned char)data[i];
        sum = sum >> 4 ^ table[sum & 15];
        sum = sum >> 4 ^ table[sum & 15];
    }
    return ~sum;
}

size_t base64_encode(char *to, const char *data, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i += 3) {
        unsigned left = size - i < 3 ? (unsigned)(size - i) : 3, bits = 0;
        for (unsigned j = 0; j < 3; j++)
            bits = bits << 8 | (j < left ? (unsigned char)data[i + j] : 0);
        for (unsigned j = 0; j < 4; j++)
            to[used++] = j <= left ? digits[bits >> (18 - 6 * j) & 63] : '=';
    }
    return used;
}

int base64_digit(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

bool base64_decode(char *to, size_t room, size_t *size, const char *text, size_t length)
{
    size_t padding = 0, used = 0;
    if (length % 4)
        return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    if (length / 4 * 3 - padding > room)
        return false;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t bits = 0;
        size_t last = i + 4 == length ? 4 - padding : 4;
        for (size_t j = 0; j < 4; j++) {
            int value = j < last ? base64_digit(text[i + j]) : 0;
            if (value < 0)
                return false;
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t j = 0; j + 1 < last; j++)
            to[used++] = (char)(bits >> (16 - 8 * j));
    }
    *size = used;
    return true;
}
