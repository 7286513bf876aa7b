#include "format/visible.h"

#include <bsd/vis.h>
#include <locale.h>

#include "unit.h"

static void check(const char *text, size_t len, const char *want)
{
	char *encoded = visible(text, len, VIS_CSTYLE | VIS_NL | VIS_TAB | VIS_DQ);

	CHECK_STR(encoded, want);
	free(encoded);
}

#define CHECK_VISIBLE(text, want) check(text, sizeof(text) - 1, want)

static void bytes(void)
{
	setlocale(LC_CTYPE, "C");
	CHECK_VISIBLE("", "");
	CHECK_VISIBLE("plain text", "plain text");
	CHECK_VISIBLE("a\nb\tc\\\"", "a\\nb\\tc\\\\\\\"");
	CHECK_VISIBLE("\033[31m\x7f", "\\^[[31m\\^?");
	CHECK_VISIBLE("\0"
	              "1\0",
	    "\\0001\\0");
	CHECK_VISIBLE("caf\xc3\xa9", "caf\\M-C\\M-)");
}

/* Characters stay, and what is wrong in a text changes nothing around it: of a text that
 * is not all UTF-8 strvis() makes "\004\033[31m", an escape. */
static void characters(void)
{
	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		puts("# no locale C.UTF-8");
		return;
	}
	CHECK_VISIBLE("caf\xc3\xa9\xff", "caf\xc3\xa9\\M^?");
	CHECK_VISIBLE("\xd0\x9b[31m\xff", "\xd0\x9b[31m\\M^?");
	CHECK_VISIBLE("\xf0\x9f\x98\x80\n", "\xf0\x9f\x98\x80\\n");
	CHECK_VISIBLE("\xc2\x9b"
	              "31m",
	    "\\M-B\\M^[31m");
	CHECK_VISIBLE("\x9b"
	              "31m",
	    "\\M^[31m");
	CHECK_VISIBLE("\xf0\x9f\x98", "\\M-p\\M^_\\M^X");
	CHECK_VISIBLE("\xc0\x80\xed\xa0\x80", "\\M-@\\M^@\\M-m\\240\\M^@");
}

int main(void)
{
	return UNIT_RUN(TEST(bytes), TEST(characters));
}
