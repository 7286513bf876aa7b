/* CRC-32C (Castagnoli; RFC 3720, appendix B.4): polynomial 0x1EDC6F41, reflected.
 * Start with 0 and feed the previous result to go on. crc32c(0, "123456789", 9)
 * is 0xe3069283. */
#ifndef QSPOOL_FORMAT_CRC32C_H
#define QSPOOL_FORMAT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
