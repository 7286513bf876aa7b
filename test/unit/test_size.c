#include "format/size.h"

#include "unit.h"

static void reads_and_writes(void)
{
	static const struct {
		const char *text;
		int64_t bytes;
		const char *again;
	} good[] = {
	    {"0", 0, "0"},
	    {"1", 1, "1"},
	    {"1023", 1023, "1023"},
	    {"1024", 1024, "1K"},
	    {"512M", 512 << 20, "512M"},
	    {"1536M", INT64_C(1536) << 20, "1536M"},
	    {"2048K", 2 << 20, "2M"},
	    {"3T", INT64_C(3) << 40, "3T"},
	    {"1048576T", SIZE_BYTES_MAX, "1048576T"},
	    {"1152921504606846976", SIZE_BYTES_MAX, "1048576T"},
	    {"00000000000000000000000000000001G", 1 << 30, "1G"},
	};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[SIZE_TEXT];
		int64_t bytes;

		if (!CHECK_INT(size_parse(good[i].text, &bytes), 0))
			continue;
		CHECK_INT(bytes, good[i].bytes);
		size_format(bytes, text);
		CHECK_STR(text, good[i].again);
	}
}

static void refuses(void)
{
	static const char *const bad[] = {"", "K", "-1", "+1", " 1", "1 ", "1k", "1KB", "1.5G",
	    "1P", "1 M", "0x10", "1152921504606846977", "1048577T", "99999999999999999999999"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t bytes;

		if (!CHECK(size_parse(bad[i], &bytes) == -1))
			printf("#   \"%s\"\n", bad[i]);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(reads_and_writes), TEST(refuses));
}
