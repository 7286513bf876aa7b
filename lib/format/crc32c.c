#include "format/crc32c.h"

/* The table is linear: an entry is the sum (XOR) of those of its single bits,
 * so eight numbers make all 256, at compile time. */
#define BIT(i, bit, entry) ((i) & (bit) ? UINT32_C(entry) : 0)
#define ENTRY(i)                                                                                   \
	(BIT(i, 0x01, 0xf26b8303) ^ BIT(i, 0x02, 0xe13b70f7) ^ BIT(i, 0x04, 0xc79a971f) ^          \
	    BIT(i, 0x08, 0x8ad958cf) ^ BIT(i, 0x10, 0x105ec76f) ^ BIT(i, 0x20, 0x20bd8ede) ^       \
	    BIT(i, 0x40, 0x417b1dbc) ^ BIT(i, 0x80, 0x82f63b78))
#define ENTRIES4(i) ENTRY(i), ENTRY((i) + 1), ENTRY((i) + 2), ENTRY((i) + 3)
#define ENTRIES16(i) ENTRIES4(i), ENTRIES4((i) + 4), ENTRIES4((i) + 8), ENTRIES4((i) + 12)
#define ENTRIES64(i) ENTRIES16(i), ENTRIES16((i) + 16), ENTRIES16((i) + 32), ENTRIES16((i) + 48)

static const uint32_t table[256] = {ENTRIES64(0), ENTRIES64(64), ENTRIES64(128), ENTRIES64(192)};

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *byte = data;

	crc = ~crc;
	for (size_t i = 0; i < len; i++)
		crc = crc >> 8 ^ table[(crc ^ byte[i]) & 0xff];
	return ~crc;
}
