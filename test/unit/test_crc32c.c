#include "format/crc32c.h"

#include "unit.h"

/* The definition, bit by bit. */
static uint32_t slow_crc32c(const uint8_t *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static void known_answers(void)
{
	uint8_t block[32];

	CHECK_INT(crc32c(0, "", 0), 0);
	CHECK_INT(crc32c(0, "123456789", 9), 0xe3069283);

	/* RFC 3720, appendix B.4 */
	memset(block, 0, sizeof block);
	CHECK_INT(crc32c(0, block, sizeof block), 0x8a9136aa);
	memset(block, 0xff, sizeof block);
	CHECK_INT(crc32c(0, block, sizeof block), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		block[i] = i;
	CHECK_INT(crc32c(0, block, sizeof block), 0x46dd794e);
	for (uint8_t i = 0; i < 32; i++)
		block[i] = (uint8_t)(31 - i);
	CHECK_INT(crc32c(0, block, sizeof block), 0x113fdb5c);
}

static void agrees_with_the_definition(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint8_t byte = (uint8_t)i;

		CHECK_INT(crc32c(0, &byte, 1), slow_crc32c(&byte, 1));
	}
}

static void goes_on_where_it_stopped(void)
{
	static const char text[] = "the quick brown fox";
	size_t len = sizeof text - 1;
	uint32_t whole = crc32c(0, text, len);

	for (size_t cut = 0; cut <= len; cut++)
		CHECK_INT(crc32c(crc32c(0, text, cut), text + cut, len - cut), whole);
}

int main(void)
{
	return UNIT_RUN(
	    TEST(known_answers), TEST(agrees_with_the_definition), TEST(goes_on_where_it_stopped));
}
